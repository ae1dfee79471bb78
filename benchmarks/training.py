"""Speed of a training step: share of the machine's matrix-product peak, and where the rest goes.

    python benchmarks/training.py [small] [paper] [batches FOLDER] [hour MANIFEST] [read MANIFEST]
        [index] [encode] [device=cuda]

small, paper   a training step of the preset on a batch of 80 s: FLOP/s as a share of the fastest
               float32 product (on a GPU: bfloat16) seen in the same run, × real time, memory, and
               the profile of a step. Each in a process of its own.
batches        an epoch's batches of recordings in FOLDER (by their lengths), once in batches of
               like length with statistics known beforehand, once as is often done: so many clips
               picked at random, padded to the longest, normalised by statistics of each batch.
hour           an hour of the manifest's recordings, ten epochs of `small` on two pseudo-labels of
               openSMILE's, from nothing: extraction included.
read           batches of that hour, read back from the store on one core.
encode         300 clips of 2 to 10 s encoded one by one with the encoder of speechocean762.toml, of
               their own lengths and filled up to `FILLED`, in processes in turn, one thread.
index          the index of 600,000 clips (Common Voice's 900 h), and an epoch of it in batches.

FLOP: 2 for each multiply-add of convolutions, LSTM and linear layers, 3 times that for a step
(forward, and the gradients of inputs and of weights). All else (normalisation, activations,
dropout, the optimiser) counts as time, not as FLOP. Data are random; reading them is not timed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile

from augury import Corpus, audio, pretrain, pseudolabels, read_corpus
from augury.extraction.plan import Plan
from augury.learning.batches import make_batches, padding_share
from augury.pretraining import encode
from augury.pretraining.clips import Clips
from augury.pretraining.encoder import Encoder
from augury.pretraining.prepare import prepare
from augury.pretraining.pretrain import _optimiser
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Target
from augury.pretraining.workers import ClipBatch, PretrainingModel, read_batch
from augury.reporter import ExtractionProgress, Progress, Reporter
from augury.store import pack

from measure import machine, peak_memory

LABELS = {"F0": 1.0, "loudness": 1.0}
KINDS = {
    "convolution": "conv", "LSTM": "rnn", "linear": "mm", "layer norm": "layer_norm",
    "batch norm": "batch_norm", "activation": "relu", "dropout": "bernoulli", "optimiser": "Optim",
    "pooling": "maximum", "indexing, copying": "index", "copying": "copy",
}  # fmt: skip


class Step:
    """A model of a preset, and one step of its training."""

    def __init__(self, preset: str, device: str) -> None:
        self.settings = PretrainSettings.of(preset, LABELS)
        self.device = torch.device(device)
        dims = {"mel": 80, "mfcc": 40, **dict.fromkeys(LABELS, 1)}
        targets = [Target(n, n, 1.0, np.zeros(d), np.ones(d)) for n, d in dims.items()]
        torch.manual_seed(0)
        self.model = PretrainingModel(self.settings, targets).to(self.device)
        self.optimiser = _optimiser(self.model, self.settings)
        self.outputs = sum(dims.values())

    def batch(self, lengths: NDArray[np.int64]) -> ClipBatch:
        count, total = len(lengths), int(lengths.sum())
        labels = {name: torch.randn(total, 1) for name in LABELS}
        mel = torch.randn(count, int(lengths.max()), 80)
        return ClipBatch(mel, torch.from_numpy(lengths), labels).to(self.device)

    def __call__(self, batch: ClipBatch) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            sums, counts = self.model(batch)
        (sums / counts).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self.wait()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def best(function: Callable[[], None], times: int = 5) -> float:
    """Least seconds of some calls, after one that does not count."""
    function()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return min(found)


def peak(device: str) -> float:
    """FLOP/s of the fastest large product: by torch, and on a CPU by NumPy too."""
    n = 4096 if device == "cpu" else 16384
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    a = torch.randn(n, n, dtype=kind, device=device)

    def product() -> None:
        torch.mm(a, a)
        if device != "cpu":
            torch.cuda.synchronize()

    seconds = best(product)
    if device == "cpu":
        array, into = a.numpy(), np.empty((n, n), np.float32)

        def numpys() -> None:
            np.matmul(array, array, out=into)

        seconds = min(seconds, best(numpys))
    return 2 * n**3 / seconds


def one(preset: str, device: str) -> None:
    lengths = np.linspace(480, 500, 16).astype(np.int64)  # 16 clips of about 5 s
    step = Step(preset, device)
    batch, frames = step.batch(lengths), int(lengths.sum())
    top = peak(device)
    seconds = best(lambda: step(batch), 3 if preset == "paper" and device == "cpu" else 10)
    top = max(top, peak(device))
    encoder = step.settings.encoder
    forward = encoder.operations + 2 * encoder.dimensions * step.outputs
    work = 3 * forward * frames
    kind = "float32" if device == "cpu" else "bfloat16"
    print(
        f"{preset} on {device}: {seconds:.3f} s for "
        f"{frames / 100:.0f} s of speech, × {frames / 100 / seconds:.1f} real time, "
        f"{3600 * seconds / (frames / 100) / 60:.1f} min an hour of speech; "
        f"{work / seconds / 1e9:.0f} GFLOP/s of {top / 1e9:.0f} ({kind} product): "
        f"{work / seconds / top:.0%}; peak memory {peak_memory():.1f} GB"
    )
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step(batch)
    spent: Counter[str] = Counter()
    for event in found.key_averages():
        kind = next((k for k, part in KINDS.items() if part in event.key), "other")
        spent[kind] += event.self_cpu_time_total
    total = sum(spent.values())
    print("   " + ", ".join(f"{k} {v / total:.0%}" for k, v in spent.most_common()), flush=True)


def bucketing(folder: Path) -> None:
    paths = sorted(
        one for one in folder.rglob("*") if one.suffix in (".wav", ".flac", ".ogg", ".opus")
    )
    rng = np.random.default_rng(0)
    seconds = np.array([audio.header(one).seconds for one in paths])
    lengths = (seconds[seconds <= 10] * 100).astype(np.int64)
    step = Step("small", "cpu")
    most = round(step.settings.batch_seconds / audio.HOP)
    like = make_batches(lengths, most, rng=rng)
    naive = np.array_split(rng.permutation(len(lengths)), len(like))
    chosen = rng.permutation(len(like))[:25]

    def naively(batch: ClipBatch) -> None:
        mel = batch.mel.flatten(0, 1)  # padding and all
        batch.mel = (batch.mel - mel.mean(0)) / mel.std(0)
        step(batch)

    rows = []
    for name, plan, train in (("like lengths", like, step), ("at random", naive, naively)):
        made = [step.batch(lengths[plan[k]]) for k in chosen]
        frames = sum(int(one.lengths.sum()) for one in made)
        train(made[0])
        began = time.perf_counter()
        for batch in made:
            train(batch)
        rows.append(frames / 100 / (time.perf_counter() - began))
        print(
            f"{name}: {len(plan)} batches, {padding_share(lengths, plan):.0%} padding, "
            f"× {rows[-1]:.0f} real time"
        )
    print(f"gain: {rows[0] / rows[1]:.2f}", flush=True)


def first_hour(manifest: Path) -> Corpus:
    corpus = read_corpus(manifest)
    seconds = np.array([audio.header(path).seconds for path in corpus.recordings])
    return corpus.select(np.cumsum(seconds[corpus.recording]) <= 3600)


def reading(manifest: Path) -> None:
    settings = PretrainSettings.of("small", LABELS, validation="0")
    candidates = pseudolabels.parse_candidates(list(LABELS))
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan.of(candidates, Path(folder), unvoiced="published", mel=True)
        found = prepare(first_hour(manifest), plan, settings)
        clips = found.clips
        began = time.process_time()
        for chosen in make_batches(clips.frames, 8000, rng=np.random.default_rng(0)):
            read_batch(clips, found.targets, chosen)
        spent = time.process_time() - began
    print(
        f"reading: × {clips.frames.sum() * audio.HOP / spent:,.0f} real time a core, "
        f"{1e3 * spent / len(clips):.2f} ms a clip"
    )


def hour(manifest: Path) -> None:
    corpus = first_hour(manifest)
    with tempfile.TemporaryDirectory() as folder:
        began, extracted = time.perf_counter(), [0.0]

        class Clock(Reporter):
            def progress(self, event: Progress) -> None:
                if isinstance(event, ExtractionProgress):
                    extracted[0] = time.perf_counter() - began

        found = pretrain(
            corpus, tuple(LABELS), out=Path(folder) / "out", store=Path(folder) / "store",
            validation="0", reporter=Clock(),
        )  # fmt: skip
        assert found
        result = found.result
        print(
            f"{len(corpus)} recordings, {result['epochs']} epochs: {result['audio_seconds']:.0f} s "
            f"of speech in {time.perf_counter() - began:.0f} s (asked: 300), {extracted[0]:.0f} of "
            f"them extraction; × {result['audio_seconds'] / result['seconds']:.0f} real time; peak "
            f"memory {peak_memory():.1f} GB"
        )


def index(count: int = 600_000) -> None:
    rng, before = np.random.default_rng(0), peak_memory()
    names = tuple(f"clips/common_voice_en_{k:08d}.mp3" for k in range(count))
    paths = tuple(Path("/corpora/cv/en") / name for name in names)
    digests = tuple(f"{k:064x}" for k in range(count))
    frames, held_out = rng.integers(100, 1000, count), rng.random(count) < 0.05
    nothing = Plan(Path(), (), None, ())
    zero = np.zeros(count, np.int64)
    clips = Clips(nothing, paths, names, digests, np.arange(count), zero, frames, held_out)
    memory = peak_memory() - before
    kept = pack(clips.to_arrays())
    began = time.perf_counter()
    plan = make_batches(clips.frames, 8000, rng=rng)
    spent = time.perf_counter() - began
    print(
        f"{count:,} clips: {memory:.2f} GB, {len(kept) / 1e6:.0f} MB on disk; an epoch of "
        f"{len(plan):,} batches in {spent:.2f} s, {padding_share(clips.frames, plan):.1%} padding"
    )


def encoding(filled: int) -> None:
    """Processor seconds for 300 clips; a process of its own, as kernels are kept."""
    torch.set_num_threads(1)
    encode.LENGTH_MULTIPLE = filled
    recipe = Path(__file__).parents[1] / "recipes" / "speechocean762-encoder.toml"
    encoder = Encoder(PretrainSettings.of(recipe, {}).encoder).eval()
    rng = np.random.default_rng(0)
    clips = [
        rng.standard_normal((n, audio.BANDS)).astype(np.float32)
        for n in rng.integers(200, 1000, 300)
    ]
    began = time.process_time()
    for clip in clips:
        encode.encode_log_mel(encoder, clip)
    print(time.process_time() - began)


def fillings(times: int = 5) -> None:
    found: dict[int, list[float]] = {1: [], encode.LENGTH_MULTIPLE: []}
    for _ in range(times):
        for filled, spent in found.items():
            command = [sys.executable, __file__, "encoding", str(filled)]
            spent.append(float(subprocess.run(command, check=True, capture_output=True).stdout))
    own, filled = (float(np.median(spent)) for spent in found.values())
    print(
        f"300 clips: of their own lengths {own:.2f} s, filled up {filled:.2f} s: {filled / own:.2f}"
    )


def main() -> None:
    words = sys.argv[1:]
    device = next((w.removeprefix("device=") for w in words if w.startswith("device=")), "cpu")
    if "encoding" in words:
        return encoding(int(words[1]))
    if "alone" in words:
        return one(words[0], device)
    print(machine(), f"torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for preset in ("small", "paper"):
        if preset in words:
            command = [sys.executable, __file__, preset, "alone", f"device={device}"]
            subprocess.run(command, check=True)
    if "batches" in words:
        bucketing(Path(words[words.index("batches") + 1]))
    if "read" in words:
        reading(Path(words[words.index("read") + 1]))
    if "encode" in words:
        fillings()
    if "index" in words:
        index()
    if "hour" in words:
        hour(Path(words[words.index("hour") + 1]))
    return None


if __name__ == "__main__":
    main()
