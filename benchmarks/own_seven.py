"""Our own seven beside openSMILE's: how alike, on speakers not used to choose anything; how fast.

python benchmarks/own_seven.py ../shared/data
python benchmarks/own_seven.py ../shared/data --choose
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, rankdata, spearmanr

from augury import audio
from augury.pseudolabels import opensmile, periods, pitch, seven, spectra
from augury.pseudolabels.candidate import SEVEN

from measure import machine

#: Our descriptors → openSMILE's columns: the paper's seven, and the nearest to our others.
COLUMNS = {
    **SEVEN,
    "jitter": "opensmile:ComParE_2016:jitterLocal_sma",
    "shimmer": "opensmile:ComParE_2016:shimmerLocal_sma",
    "entropy": "opensmile:ComParE_2016:pcm_fftMag_spectralEntropy_sma",
    "harmonicity": "opensmile:GeMAPSv01b:HNRdBACF_sma3nz",
}
#: Compared where both find a voice (voicing and harmonicity: where openSMILE does).
OF_VOICE = (*seven.VOICED_ONLY, "voicing", "harmonicity")
#: Phones of TIMIT with a voice, and without; the closures of b, d and g may have either.
VOICED_NAMES = (
    "b d g dh z zh v jh m n ng em en eng nx l r w y el iy ih eh ey ae aa aw ay ah ao oy ow uh uw "
    "ux er ax ix axr dx hv"
)
VOICED = set(VOICED_NAMES.split(" "))
OBSTRUENTS = {"b", "d", "g", "dh", "z", "zh", "v", "jh"}
UNVOICED_NAMES = "p t k s sh f th ch pau epi h# pcl tcl kcl ax-h hh"
UNVOICED = set(UNVOICED_NAMES.split(" "))

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sentence:
    """A recording, and what is known of it."""

    path: Path
    speaker: str
    signal: NDArray[np.float32]  # 16 kHz


def timit(data: Path, *, held_out: bool) -> Iterator[Sentence]:
    """Sentences of the sample's speakers of regions 5 to 8, or (to choose on) of 1 to 4."""
    for path in sorted((data / "timit_sample").glob("dr*/*.wav")):
        if (path.parent.name[2] in "5678") == held_out:
            yield read(path, path.parent.name)


def speechocean(data: Path, *, held_out: bool, each: int) -> Iterator[Sentence]:
    """The first sentences of each speaker of the test split, or of the train split: to choose."""
    folder, read_of = data / "speechocean762", dict[str, int]()
    with (folder / "utterances.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            speaker = row["speaker"]
            read_of[speaker] = read_of.get(speaker, 0) + 1
            if (row["split"] == "test") == held_out and read_of[speaker] <= each:
                yield read(folder / row["path"], speaker)


def read(path: Path, speaker: str) -> Sentence:
    signal, rate = audio.decode(path.read_bytes(), path.name)
    return Sentence(path, speaker, audio.resample(signal, rate))


# ------------------------------------------------------------------------------- how alike


def compare(name: str, sentences: list[Sentence], plan: opensmile.Extractor) -> None:
    """Print rank correlations, frame by frame, over all sentences together."""
    ours: dict[str, list[Array]] = {each: [] for each in COLUMNS}
    theirs: dict[str, list[Array]] = {each: [] for each in COLUMNS}
    voices: list[NDArray[np.bool_]] = []
    for sentence in sentences:
        own = seven.values(seven.NAMES, sentence.signal, audio.RATE)
        smile = dict(zip(COLUMNS, opensmile.extract(plan, sentence.signal).values(), strict=True))
        centres = dict(zip(COLUMNS, plan.centres, strict=True))
        voice = smile["F0"] > 0
        for each in COLUMNS:
            values = smile[each].astype(np.float64)
            if each in OF_VOICE:
                inside = voice.copy()
                if each in ("log_hnr", "jitter", "shimmer"):  # smoothed over three frames
                    inside[1:] &= voice[:-1]
                    inside[:-1] &= voice[1:]
                values[~inside] = np.nan
            mine = own[each].astype(np.float64)
            if each in seven.VOICED_ONLY:
                mine[own["F0"] == 0] = np.nan
            ours[each].append(mine)
            theirs[each].append(at_times(values, centres[each], seven.centre(each), len(mine)))
        count = len(own["F0"])
        found = at_times(voice.astype(np.float64), centres["F0"], seven.centre("F0"), count)
        known = np.isfinite(found)
        voices.append(np.stack([own["F0"][known] > 0, found[known] > 0]))
    speakers = len({sentence.speaker for sentence in sentences})
    both = np.concatenate(voices, axis=1)
    seconds = sum(len(sentence.signal) for sentence in sentences) / audio.RATE
    print(f"\n{name}: {len(sentences)} sentences of {speakers} speakers, {seconds / 60:.1f} min")
    print(f"voiced or not, agreement: {(both[0] == both[1]).mean():.3f}")
    for each in COLUMNS:
        pair = np.stack([np.concatenate(part) for part in (ours[each], theirs[each])])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        near = np.abs(pair[0] - pair[1]) < 0.05 * np.abs(pair[1])
        note = f"; within 5 %: {near.mean():.3f}"
        where = " where there is a voice" if each in OF_VOICE else ""
        print(
            f"own:{each:12} Spearman {spearmanr(*pair)[0]:.3f} of {pair.shape[1]:6,} frames"
            f"{where}{note if each == 'F0' else ''}"
        )


def at_times(values: Array, centre: float, own_centre: float, count: int) -> Array:
    """Values interpolated at the instants of our frames; NaN outside, and beside a missing one."""
    place = (own_centre - centre) / audio.HOP + np.arange(count)
    if np.allclose(place, np.rint(place), atol=1e-6):
        place = np.rint(place)
    return np.interp(place, np.arange(len(values)), values, left=np.nan, right=np.nan)


# ------------------------------------------------------------------------------- how fast


def time_all(sentences: list[Sentence], rounds: int = 5) -> None:
    """Print × real time a core (processor seconds) of each descriptor alone, and of all seven."""
    own = list(SEVEN)  # ours have the same names
    plan = opensmile.extractor([tuple(s.split(":")[1:]) for s in SEVEN.values()])  # type: ignore[misc]
    works: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "openSMILE's seven": lambda signal: opensmile.extract(plan, signal),
        "our seven": lambda signal: seven.values(own, signal, audio.RATE),
        "all eleven": lambda signal: seven.values(seven.NAMES, signal, audio.RATE),
    }
    for each in seven.NAMES:
        works[f"own:{each}"] = lambda signal, each=each: seven.values([each], signal, audio.RATE)
    spent: dict[str, list[float]] = {work: [] for work in works}
    for work in works.values():
        work(sentences[0].signal)
    for _ in range(rounds):
        for work, function in works.items():
            begin = time.process_time()
            for sentence in sentences:
                function(sentence.signal)
            spent[work].append(time.process_time() - begin)
    seconds = sum(len(sentence.signal) for sentence in sentences) / audio.RATE
    smile = np.array(spent["openSMILE's seven"])
    print(f"\n× real time a core, {seconds / 60:.1f} min of speech: best of {rounds}, median;")
    print("and processor time of openSMILE's seven over it, median of rounds")
    for work, taken in spent.items():
        ratio = np.median(smile / np.array(taken))
        print(
            f"{work:18}{seconds / min(taken):7,.0f}{seconds / np.median(taken):7,.0f}{ratio:7.1f}"
        )


# ------------------------------------------------------------------------------- choosing


def choose(sentences: list[Sentence]) -> None:
    """Print how well hand labels are told apart, by the constants that are ours to choose."""
    print("\nlog HNR of voiced phones, by the seconds that periods are averaged over:")
    chosen = periods.MEAN
    for mean in (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025):
        periods.MEAN = mean  # type: ignore[misc]
        values: list[Array] = []
        labels: list[NDArray[np.str_]] = []
        for sentence in sentences:
            own = seven.values(["F0", "log_hnr"], sentence.signal, audio.RATE)
            phones = phones_of(sentence.path, len(own["F0"]))
            used = (own["F0"] > 0) & np.isin(phones, list(VOICED))
            values.append(own["log_hnr"][used].astype(np.float64))
            labels.append(phones[used])
        ranks, names = rankdata(np.concatenate(values)), np.concatenate(labels)
        between = sum(
            (names == phone).mean() * (ranks[names == phone].mean() - ranks.mean()) ** 2
            for phone in set(names)
        )
        noisy = np.isin(names, list(OBSTRUENTS))
        area = mannwhitneyu(ranks[~noisy], ranks[noisy])[0] / noisy.sum() / (~noisy).sum()
        mark = " <- chosen" if mean == chosen else ""
        print(
            f"{1000 * mean:5.1f} ms: {between / ranks.var():.4f} of the ranks' variance is between"
            f" phones; sonorants above obstruents in {area:.3f} of pairs{mark}"
        )
    periods.MEAN = chosen  # type: ignore[misc]
    print("\nframes of phones with and without a voice, by the strength that is a voice:")
    found: list[tuple[NDArray[np.str_], Array, Array]] = []
    for sentence in sentences:
        candidates = pitch.find_candidates(spectra.Spectra.of(sentence.signal, audio.RATE))
        found.append((phones_of(sentence.path, len(candidates[0])), *candidates))
    for voice in (0.55, 0.6, 0.65, 0.7, 0.75):
        right: list[NDArray[np.bool_]] = []
        for phones, hertz, strength in found:
            voiced = pitch.best_path(hertz, strength, voice=voice) > 0
            known = np.isin(phones, list(VOICED | UNVOICED))
            right.append(voiced[known] == np.isin(phones[known], list(VOICED)))
        mark = " <- taken, as documented" if voice == pitch.VOICE else ""
        print(f"{voice:.2f}: {np.concatenate(right).mean():.3f} right{mark}")


def phones_of(path: Path, count: int) -> NDArray[np.str_]:
    """TIMIT's hand label (frames,) at each of our frames."""
    labels = np.full(count, "", "<U5")
    centres = (spectra.CENTRE + audio.HOP * np.arange(count)) * audio.RATE
    for line in path.with_suffix(".phn").read_text().splitlines():
        begin, end, phone = line.split()
        labels[(centres >= int(begin)) & (centres < int(end))] = phone
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--choose", action="store_true", help="on speakers for choosing")
    arguments = parser.parse_args()
    print(machine())
    if arguments.choose:
        choose(list(timit(arguments.data, held_out=False)))
        return
    corpora = {
        "TIMIT, regions 5 to 8": list(timit(arguments.data, held_out=True)),
        "speechocean762, test": list(speechocean(arguments.data, held_out=True, each=2)),
    }
    plan = opensmile.extractor([tuple(s.split(":")[1:]) for s in COLUMNS.values()])  # type: ignore[misc]
    for name, sentences in corpora.items():
        compare(name, sentences, plan)
    time_all(corpora["TIMIT, regions 5 to 8"])


if __name__ == "__main__":
    main()
