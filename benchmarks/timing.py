"""When openSMILE's columns see a change, against half a window: synthetic changes, and speech.

python benchmarks/timing.py ../shared/data/timit_sample
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.stats import rankdata

from augury import pseudolabels
from augury.extraction.gather import candidate_values
from augury.extraction.plan import Plan
from augury.extraction.segments import frame_range, range_means
from augury.pretraining.clips import align
from augury.pseudolabels import opensmile, seven, smile_timing
from augury.pseudolabels.candidate import VOICED_ONLY
from changes import HOP, KINDS, PITCHES, RATE, VOICED, Change, Response

from measure import machine

FAINTEST = 2.0  # standard deviations between the two states: less says nothing
WIDEST = 3.0  # ms of standard error: a larger one says nothing
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A column's response to a kind of change, at one pitch."""

    late: float  # ms from the change to its response, with half a window as centre
    error: float  # ms, of `late`
    contrast: float


def measure(kind: str, pitch: int) -> dict[tuple[str, str], Measured]:
    """(feature set, column) → its response to a kind of change, where it has one."""
    change = Change.of(kind, pitch=pitch)
    found: dict[tuple[str, str], Measured] = {}
    for feature_set in opensmile.SETS:
        columns = opensmile.descriptor_names(feature_set)
        plan = opensmile.extractor([(feature_set, column) for column in columns])
        values = opensmile.extract(plan, change.signal)
        voiced = values[f"{feature_set}:{pseudolabels.PITCH[feature_set]}"] > 0
        for column, window in zip(columns, plan.windows, strict=True):
            frames = values[f"{feature_set}:{column}"]
            if column.startswith(VOICED_ONLY) and not column.startswith("F0"):
                if kind not in VOICED:  # it would show the voicing, not the value
                    continue
                frames = np.where(voiced, frames, np.nan)
            response = Response.of(frames, window / 2, change.at)
            contrast = response.contrast()
            if contrast >= FAINTEST:
                late, error = 1000 * response.crossing(), 1000 * response.error()
                if np.isfinite(late + error):
                    found[feature_set, column] = Measured(late, error, contrast)
    return found


def clearest(kinds: dict[str, list[Measured]]) -> tuple[float, float, str]:
    """Of the kinds of change that a column responds to, the most precise: ms late, error, kind.

    The error has that of each pitch and the spread over pitches.
    """
    best = (np.nan, np.inf, "")
    for kind, measured in kinds.items():
        late = np.array([each.late for each in measured])
        asked = len(PITCHES) if kind in VOICED else 1
        if len(late) * 2 < asked:
            continue
        error = np.mean([each.error for each in measured])
        error = float(np.hypot(error, late.std()) / np.sqrt(len(late)))
        if error < best[1]:
            best = (float(late.mean()), error, kind)
    return best


def print_changes() -> None:
    """Measure and print every column's response to changes at known instants."""
    responses: dict[tuple[str, str], dict[str, list[Measured]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for kind in KINDS:
        for pitch in PITCHES if kind in VOICED else PITCHES[1:2]:
            for column, measured in measure(kind, pitch).items():
                responses[column][kind].append(measured)
    print("\nms from a change to its response, if half a window is a frame's centre; ? is unclear")
    print(f"{'':50}{'table':>6}{'late':>7}   error  change; by pitch")
    for feature_set in opensmile.SETS:
        for column in opensmile.descriptor_names(feature_set):
            if is_rasta(column):  # it forgets a change: see `print_rates`
                continue
            kinds = responses[feature_set, column]
            late, error, kind = clearest(kinds)
            by_pitch = " ".join(f"{each.late:.1f}" for each in kinds[kind])
            table = 0 - 1000 * smile_timing.offset(column)
            print(
                f"{feature_set:13}{column:37}{table:6.0f}{late:+7.1f}"
                f" ±{error:5.1f}{'?' if not error < WIDEST else ' '} {kind}; {by_pitch}"
            )


def print_own() -> None:
    """Print our own descriptors' responses, against the centres that they declare."""
    responses: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for kind in KINDS:
        for pitch in PITCHES if kind in VOICED else PITCHES[1:2]:
            change = Change.of(kind, pitch=pitch)
            found = seven.values(seven.NAMES, change.signal, RATE)
            for name, frames in found.items():
                if name in seven.VOICED_ONLY and name != "F0":
                    if kind not in VOICED:
                        continue
                    frames = np.where(found["F0"] > 0, frames, np.nan)
                response = Response.of(frames, seven.centre(name), change.at)
                contrast = response.contrast()
                late, error = 1000 * response.crossing(), 1000 * response.error()
                if contrast >= FAINTEST and np.isfinite(late + error):
                    responses[name][kind].append(Measured(late, error, contrast))
    print("\nms from a change to the response of our own descriptors, by their declared centres")
    for name in seven.NAMES:
        late, error, kind = clearest(responses[name])
        by_pitch = " ".join(f"{each.late:.1f}" for each in responses[name][kind])
        print(f"own:{name:15}{late:+7.1f} ±{error:5.1f} {kind}; {by_pitch}")


def is_rasta(column: str) -> bool:
    """Whether a column is filtered over time."""
    return "Rasta" in column or "Rfilt" in column


def print_rates() -> None:
    """Print how late columns with RASTA follow the level of noise, at some rates."""
    columns = [c for c in opensmile.descriptor_names("ComParE_2016") if is_rasta(c)]
    plan = opensmile.extractor([("ComParE_2016", column) for column in columns])
    time = np.arange(20 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    print("\nms late at changes of level of some rate: audspecRasta_lengthL1norm; all bands")
    for rate in (2, 3, 4, 5, 6, 8, 12):
        signal = 0.02 * 4 ** np.sin(2 * np.pi * rate * time) * noise
        late = []
        for values in opensmile.extract(plan, signal.astype(np.float32)).values():
            centres = plan.windows[0] / 2 + HOP * np.arange(len(values))
            steady = (centres > 2) & (centres < 18)  # a whole number of turns
            turn = np.exp(-2j * np.pi * rate * centres[steady])
            late.append(-np.angle(1j * (values[steady] @ turn)) / (2 * np.pi * rate) * 1000)
        print(f"{rate:4} Hz {late[0]:+7.1f}; {min(late[1:]):+.1f} to {max(late[1:]):+.1f}")


# ------------------------------------------------------------------- real speech, by own estimates


def frames(signal: Array, window: int) -> Array:
    """Windows (frames, window) centred every millisecond, from 0 on."""
    padded = np.pad(signal, (window // 2, window))
    return np.lib.stride_tricks.sliding_window_view(padded, window)[:: RATE // 1000]


def spectra(signal: Array) -> Array:
    """Magnitudes of windows of 20 ms, every millisecond."""
    return np.abs(np.fft.rfft(frames(signal, 320) * np.hamming(320), 512))


def rms(signal: Array) -> Array:
    return np.sqrt((frames(signal, 320) ** 2).mean(axis=1))


def zero_crossings(signal: Array) -> Array:
    return np.diff(np.signbit(frames(signal, 960)), axis=1).mean(axis=1)


def flux(signal: Array) -> Array:
    """How far the spectra 5 ms before and after differ."""
    around = spectra(signal)
    return np.sqrt(((np.roll(around, -5, axis=0) - np.roll(around, 5, axis=0)) ** 2).mean(axis=1))


def harmonics_to_noise(signal: Array) -> Array:
    """From the autocorrelation's peak in windows of 40 ms."""
    window = np.hanning(640)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 2048)) ** 2)[:640]
    power = np.abs(np.fft.rfft(frames(signal, 640) * window, 2048)) ** 2
    correlation = np.fft.irfft(power)[:, :267] / (own[:267] / own[0])
    peak = correlation[:, 40:].max(axis=1) / np.maximum(correlation[:, 0], 1e-12)
    peak = np.clip(peak, 1e-3, 0.9999)
    return 10 * np.log10(peak / (1 - peak))


def rasta(signal: Array) -> Array:
    """Log bands filtered as by RASTA, but without delay."""
    mel = 1127 * np.log(1 + np.fft.rfftfreq(512, 1 / RATE) / 700)
    edges = np.linspace(mel[1], mel[-1], 28)[1:-1, None]
    bands = np.clip(1 - np.abs(mel - edges) / (edges[1] - edges[0]), 0, None)
    log = np.log(spectra(signal) ** 2 @ bands.T + 1e-6)
    size = 2 * len(log)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 0.001) * HOP)
    gain = np.abs((2 + turn - turn**3 - 2 * turn**4) / (1 - 0.94 * turn))
    gain[np.fft.rfftfreq(size, 0.001) > 50] = 0  # beyond half the rate of openSMILE's frames
    padded = np.pad(log, ((0, size - len(log)), (0, 0)), mode="edge")
    filtered = np.fft.irfft(np.fft.rfft(padded, axis=0) * gain[:, None] / 10, axis=0)
    return np.exp(0.33 * filtered[: len(log)]).sum(axis=1)


#: Column → an estimate of ours, every millisecond, and whether it is compared in voiced frames.
REFERENCES: dict[tuple[str, str], tuple[Callable[[Array], Array], bool]] = {
    ("ComParE_2016", "pcm_RMSenergy_sma"): (rms, False),
    ("GeMAPSv01b", "Loudness_sma3"): (rms, False),
    ("ComParE_2016", "pcm_zcr_sma"): (zero_crossings, False),
    ("ComParE_2016", "pcm_fftMag_spectralFlux_sma"): (flux, False),
    ("ComParE_2016", "audspecRasta_lengthL1norm_sma"): (rasta, False),
    ("GeMAPSv01b", "HNRdBACF_sma3nz"): (harmonics_to_noise, True),
    ("ComParE_2016", "logHNR_sma"): (harmonics_to_noise, True),
    ("ComParE_2016", "shimmerLocal_sma"): (harmonics_to_noise, True),
}


def print_speech(files: list[Path]) -> None:
    """Print at which lag each column's rank correlation with our own estimate is best."""
    columns = [*REFERENCES, ("ComParE_2016", "F0final_sma")]
    plan = opensmile.extractor(columns)
    lags = np.arange(-60, 61, 2)
    pairs: dict[tuple[str, str], list[tuple[Array, Array]]] = defaultdict(list)
    for file in files:
        signal = np.asarray(soundfile.read(file)[0], np.float64)
        signal += 1e-4 * np.random.default_rng(0).standard_normal(len(signal))
        found = list(opensmile.extract(plan, signal.astype(np.float32)).values())
        own = {function: function(signal) for function in {f for f, _ in REFERENCES.values()}}
        for k, (column, (function, voiced)) in enumerate(REFERENCES.items()):
            time = np.rint(1000 * (plan.windows[k] / 2 + HOP * np.arange(len(found[k])))).astype(
                int
            )
            used = (time >= 60) & (time < len(own[function]) - 60)
            used &= (found[-1] > 0) | (not voiced)
            shifted = own[function][time[used, None] + lags]
            pairs[column].append((found[k][used].astype(np.float64), shifted))
    print(f"\n{len(files)} sentences of speech: rank correlation with an estimate of ours")
    print(f"{'':50}{'best':>5}{'late':>6}{'half a window':>15}{'table':>7}")
    for column, parts in pairs.items():
        values = np.concatenate([part for part, _ in parts])
        shifted = np.concatenate([part for _, part in parts])
        size = np.abs([rank_correlation(values, each) for each in shifted.T])
        table = np.interp(1000 * smile_timing.offset(column[1]), lags, size)
        best = int(size.argmax())
        print(
            f"{column[0]:13}{column[1]:37}{size[best]:5.3f}{-lags[best]:+6d}"
            f"{size[lags == 0][0]:15.3f}{table:7.3f}"
        )


def print_phones(files: list[Path]) -> None:
    """Print how log HNR's means over phones agree with ours, by where its frames are placed."""
    (candidate,) = pseudolabels.parse_candidates(["log_hnr"])
    plan = Plan.of([candidate], Path(), unvoiced="published")
    assert plan.extractor
    half, moved = plan.extractor.windows[0] / 2, plan.extractor.centres[0]
    rows: dict[str, list[Array]] = defaultdict(list)
    for file in files:
        signal = np.asarray(soundfile.read(file)[0], np.float64)
        values = opensmile.extract(plan.extractor, signal.astype(np.float32))
        raw = {f"opensmile:{column}": each for column, each in values.items()}
        ours = harmonics_to_noise(signal)
        voiced = raw[f"opensmile:ComParE_2016:{pseudolabels.PITCH['ComParE_2016']}"] > 0
        nearest = np.rint((np.arange(len(ours)) / 1000 - half) / HOP).astype(int)
        ours = np.where(voiced[np.clip(nearest, 0, len(voiced) - 1)], ours, -100)
        edges = phones(file)
        placed, (centre, _) = candidate_values(plan, candidate, raw, len(signal) / RATE)
        rows["ours"].append(phone_means(ours, 0, 0.001, edges))
        rows["half a window"].append(phone_means(raw[candidate.source], half, HOP, edges))
        rows["all moved"].append(phone_means(raw[candidate.source], moved, HOP, edges))
        rows["moved within voiced stretches"].append(phone_means(placed, centre, HOP, edges))
    ours = np.concatenate(rows.pop("ours"))
    print(f"\nlog HNR's means over {len(ours)} phones: rank correlation with ours, all and voiced")
    for name, parts in rows.items():
        means, inside = np.concatenate(parts), ours > -20
        agreement = [rank_correlation(means[use], ours[use]) for use in (ours < np.inf, inside)]
        print(f"{name:32}{agreement[0]:6.3f}{agreement[1]:7.3f}")


MOVED = (
    "rasta_l1", "log_hnr", "opensmile:ComParE_2016:pcm_fftMag_spectralFlux_sma",
    "opensmile:ComParE_2016:jitterLocal_sma", "opensmile:ComParE_2016:jitterDDP_sma",
    "opensmile:ComParE_2016:shimmerLocal_sma", "opensmile:eGeMAPSv02:F1frequency_sma3nz",
    "opensmile:eGeMAPSv02:F2frequency_sma3nz",
)  # fmt: skip


def print_moves(files: list[Path]) -> None:
    """Print how far means over phones, and pretraining's targets, move by the table."""
    candidates = pseudolabels.parse_candidates(list(MOVED))
    plan = Plan.of(candidates, Path(), unvoiced="published")
    assert plan.extractor
    pairs: dict[str, list[tuple[Array, Array, Array, Array]]] = defaultdict(list)
    for file in files:
        signal = np.asarray(soundfile.read(file)[0], np.float64)
        values = opensmile.extract(plan.extractor, signal.astype(np.float32))
        raw = {f"opensmile:{column}": each for column, each in values.items()}
        edges, count = phones(file), int(len(signal) / RATE / HOP)
        for candidate in candidates:
            place = plan.extractor.columns.index(f"{candidate.origin}:{candidate.item}")
            old, half = raw[candidate.source], plan.extractor.windows[place] / 2
            new, timing = candidate_values(plan, candidate, raw, len(signal) / RATE)
            means = phone_means(old, half, HOP, edges), phone_means(new, *timing, edges)
            targets = align(old, half, HOP, 0, count), align(new, *timing, 0, count)
            pairs[candidate.name].append((*means, *targets))
    print(
        "\nmean change in standard deviations, and rank correlation of old and new: phones, targets"
    )
    for name, parts in pairs.items():
        print(f"{name:52}", end="")
        for k in (0, 2):
            old, new = (np.concatenate([part[k + which] for part in parts]) for which in (0, 1))
            both = np.isfinite(old) & np.isfinite(new)
            change = np.abs(old[both] - new[both]).mean() / old[both].std()
            print(f"{change:7.2f} {rank_correlation(old[both], new[both]):.3f}", end="")
        print()


def phones(file: Path) -> Array:
    """(phones, 2) edges in seconds of a recording's phones of at least 25 ms."""
    lines = [line.split() for line in file.with_suffix(".phn").read_text().splitlines()]
    edges = np.array([[int(first), int(stop)] for first, stop, _ in lines]) / RATE
    return edges[np.diff(edges)[:, 0] >= 0.025]


def phone_means(values: NDArray[np.floating], centre: float, hop: float, edges: Array) -> Array:
    """The mean over the frames of each phone."""
    first, stop = frame_range(edges[:, 0], edges[:, 1], centre, hop, len(values))
    return range_means(values, first, stop)


def rank_correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def main() -> None:
    warnings.simplefilter("ignore")  # a column without values in some frames
    print(machine())
    files = sorted(Path(sys.argv[1]).rglob("*.wav"))[::5]
    print_speech(files)
    print_phones(files)
    print_moves(files)
    print_rates()
    print_changes()
    print_own()


if __name__ == "__main__":
    main()
