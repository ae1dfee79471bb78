"""Downstream evaluation (the paper's third step): a task is trained on an encoder, and scored.

`evaluate` prepares the corpus, and for each encoder and seed trains a model on its features and
scores it. The folder fills as it goes: results.json, results.csv, report.html, and runs/, where
weights lie. Called again, finished runs are read, and one that was stopped goes on.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augury import audio, compute
from augury.corpus.corpus import Corpus, Rejected, TooManyBad, refuse_too_many
from augury.corpus.manifest import write_quarantine
from augury.downstream import features as given
from augury.downstream import result as results
from augury.downstream.features import Batch, Encoded, Mel, Source, Stretches
from augury.downstream.result import Evaluation, Model, Outcome
from augury.downstream.settings import EvaluateSettings
from augury.downstream.splits import SPLITS, TEST, TRAIN, VALIDATION, assign_splits
from augury.downstream.tasks.task import Downstream, Task, find_task, task_version
from augury.errors import InputError
from augury.extraction.extract import Plan
from augury.learning import checkpoint
from augury.learning.batches import read_ahead
from augury.learning.processes import STATE_FOLDER, ProcessGroup, lock_folder, process_group
from augury.learning.training import Schedule, TrainingLoop, TrainingState, sum_over_batches
from augury.pretraining import config
from augury.pretraining.clips import Clips
from augury.pretraining.encode import load_encoder
from augury.pretraining.encoder import Encoder
from augury.pretraining.prepare import ExtractedClips, Wanted, extract_clips
from augury.pretraining.settings import PretrainSettings
from augury.provenance import versions
from augury.reporter import Reporter
from augury.store import default_store, digest, key, write_atomically

#: Seconds of a batch that is only looked at, at least: there are no updates to be had by small
#: ones, and a search takes a step a frame however many utterances are in it.
SCORED = 80.0


@dataclass(frozen=True)
class _Fold:
    """What is trained and tested on at a time; all there is, where there are no folds."""

    task: Task
    stretches: Stretches

    @cached_property
    def mel_statistics(self) -> tuple[NDArray, NDArray]:
        """Mean and deviation (bands,) of the log-mel trained on."""
        mean, deviation = given.statistics(Mel(self.stretches.clips), self.stretches.of(TRAIN))
        # A band that holds nothing (speech of 8 kHz) should not have its rounding blown up.
        return mean, np.maximum(deviation, 1.0)


@dataclass(frozen=True)
class _Prepared:
    """A corpus ready to be trained and tested on."""

    name: str  # of the task
    settings: EvaluateSettings
    folds: tuple[_Fold, ...]
    about: dict[str, Any]  # what results.json says of the data


@dataclass(frozen=True)
class _Front:
    """What a task is done on."""

    name: str
    mode: str
    pretrained: tuple[str, ...] | None
    digest: str  # of its weights, or of what they are made by
    #: From a seed, and mean and deviation (bands,) of the log-mel: the encoder, and a digest that
    #: stands for its features. None: the log-mel itself.
    load: Callable[[int, NDArray, NDArray], tuple[Encoder, str]] | None


def evaluate(
    task: str,
    corpus: Corpus,
    encoders: str | Path | Sequence[str | Path] = "mel",
    *,
    out: Path | str,
    preset: str | Path = "small",
    seeds: int = 3,
    store: Path | str | None = None,
    features: Path | str | None = None,
    jobs: int | None = None,
    device: str | None = None,
    minutes: float = 10.0,
    reporter: Reporter | None = None,
    **choices: Any,
) -> Evaluation:
    """Train and score a downstream task on encoders; go on where an evaluation was.

    Args:
        task: "asr", "speaker", "classify", or your own as "module:Class" (see
            `augury.downstream.tasks.task.Task`).
        corpus: from `read_corpus`.
        encoders: folders that `pretrain` wrote; "mel" for the log-mel alone, "random" for an
            encoder that was never trained.
        out: folder of the results. Where it holds an evaluation of the same task and settings,
            these encoders are added to it.
        preset: "paper", "small", or a TOML file of the task's settings.
        seeds: how often each is trained: with seeds 0, 1, …
        store: folder of extracted values; the one that `rank` uses.
        features: folder of cached features of encoders, which take 0.18 GB an hour of speech and
            encoder; the store, if not given.
        jobs: processes that extract.
        device: of torch; a GPU where there is one, if not given.
        minutes: between checkpoints.
        reporter: told of recordings that are extracted or encoded, of every batch of training,
            of every run that begins, and of what goes wrong.
        choices: fields of the task's settings (`label` among them), in place of the preset's.

    Raises:
        InputError: no such task, choice, column, split or encoder; speakers in train and test
            both; a folder with another evaluation in it.
        TooManyBad: a larger share than `max_bad` of the segments can't be used.
        Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
    """
    what = find_task(task)
    if seeds < 1:
        raise InputError(f"seeds is {seeds}, but it takes at least one")
    settings: EvaluateSettings = what.Settings.of(preset, task, **choices)
    listed = [encoders] if isinstance(encoders, str | Path) else list(encoders)
    fronts = [_front(one, settings) for one in listed]
    _distinct(fronts)
    place, folder = Path(store or default_store()).absolute(), Path(out)
    cached = Path(features).absolute() if features else place
    with process_group(device) as here, lock_folder(folder, here):
        with _in_turn(here):
            ready = _prepared(task, what, settings, corpus, place, folder, here, jobs, reporter)
        all_ = _known(folder, ready)
        if not here.rank:
            for name, text in ready.folds[0].task.files.items():
                write_atomically(folder / name, text)
            all_.write(folder)
        for front in fronts:
            for seed in range(seeds):
                if reporter and not here.rank:
                    reporter.message(f"{task} on {front.name} ({front.mode}), seed {seed}")
                run = _Run(ready, front, seed, folder, cached, here, minutes, reporter)
                outcome = run.outcome()
                all_ = _with(all_, front, outcome)
                if not here.rank:
                    all_.write(folder)
    return all_


# ------------------------------------------------------------------------------------- encoders


def _front(what: str | Path, settings: EvaluateSettings) -> _Front:
    if str(what) == "mel":
        return _Front("mel", "frozen", None, "mel", None)  # there is nothing to train along
    if str(what) == "random":
        sizes = PretrainSettings.of(settings.random_encoder, {}).encoder
        whose = key("random", asdict(sizes))

        def made(seed: int, mean: NDArray, deviation: NDArray) -> tuple[Encoder, str]:
            with torch.random.fork_rng([]):
                torch.manual_seed(seed)
                encoder = Encoder(sizes)
            encoder.mean.copy_(torch.from_numpy(mean))
            encoder.standard_deviation.copy_(torch.from_numpy(deviation))
            return encoder.eval(), key(whose, seed, mean.tolist(), deviation.tolist())

        return _Front("random", settings.mode, None, whose, made)
    folder = Path(what)
    if not folder.is_dir():
        raise InputError(
            f"{what}: no such encoder; give a folder that `augury pretrain` wrote, mel, or random"
        )
    name = folder.absolute().name
    if name in ("mel", "random"):
        raise InputError(f"{what}: this name stands for a baseline; rename the folder")
    load_encoder(folder)  # now, not after the work
    known = config.read_config(folder)
    assert known
    weights = digest((folder / "model.safetensors").read_bytes())
    labels = tuple(known.settings.pseudo_labels)
    return _Front(name, settings.mode, labels, weights, lambda *_: (load_encoder(folder), weights))


def _distinct(fronts: Sequence[_Front]) -> None:
    twice = [name for name, count in Counter(one.name for one in fronts).items() if count > 1]
    if twice or not fronts:
        raise InputError(
            f"two encoders are named {twice[0]}; rename a folder, as results go by its name"
            if twice
            else "there is no encoder to evaluate; give a folder, mel, or random"
        )


# ------------------------------------------------------------------------------------ preparing


@contextmanager
def _in_turn(here: ProcessGroup) -> Iterator[None]:
    """Inside, the first process is alone; the others come after it, and find its work done."""
    if here.rank:
        here.wait()
    try:
        yield
    finally:
        if not here.rank:
            here.wait()


def _refuse_too_many(
    rejected: tuple[Rejected, ...],
    kept: int,
    settings: EvaluateSettings,
    folder: Path,
    here: ProcessGroup,
) -> None:
    try:
        refuse_too_many(rejected, kept, settings.max_bad)
    except TooManyBad as error:
        if not here.rank:
            write_quarantine(error.rejected, folder / "quarantine.csv")
        raise


def _prepared(
    name: str,
    what: type[Task],
    settings: EvaluateSettings,
    corpus: Corpus,
    store: Path,
    folder: Path,
    here: ProcessGroup,
    jobs: int | None,
    reporter: Reporter | None,
) -> _Prepared:
    source = corpus.source
    if not len(corpus):  # its reader refused all, and has said why
        _refuse_too_many(corpus.rejected, 0, settings, folder, here)
    corpus, rejected = what.labelled(settings, corpus)
    rejected += corpus.rejected
    if not len(corpus):
        raise InputError(f"{source}: no segment has a {settings.label}; is it the right column?")
    folds = range(max(1, settings.folds))
    known = what.known_speakers
    parts = [assign_splits(corpus, settings, known_speakers=known, fold=k) for k in folds]
    used = np.any([part != "" for part in parts], axis=0)
    corpus, parts = corpus.select(used), [part[used] for part in parts]
    plan = Plan.of([], store, unvoiced="published", mel=True)
    wanted = Wanted(plan, (), "published", 0, 0)
    processes = 1 if here.rank else jobs or compute.process_count()
    nothing = np.ones(len(corpus), bool)  # is to be summed up
    got = extract_clips(corpus, nothing, wanted, processes, None if here.rank else reporter)
    rejected += [corpus.reject(*problem) for problem in got.problems]
    _refuse_too_many(tuple(rejected), len(corpus) - len(got.problems), settings, folder, here)
    usable = np.flatnonzero(got.frames > 0)
    before = {path: r for r, path in enumerate(corpus.recordings)}
    corpus, parts = corpus.select(usable), [part[usable] for part in parts]
    there = [before[path] for path in corpus.recordings]  # the recordings still used
    got = replace(
        got, first=got.first[usable], frames=got.frames[usable],
        digests=[got.digests[r] for r in there], whole=[got.whole[r] for r in there],
    )  # fmt: skip
    made = [_fold(what, settings, corpus, part, got, plan, rejected) for part in parts]
    rejected = sorted(set(rejected), key=lambda one: (one.row, one.reason))
    if not here.rank:
        write_quarantine(rejected, folder / "quarantine.csv")
    columns = [settings.label, *(c for c in ("split", "speaker") if c in corpus.columns)]
    about: dict[str, Any] = {
        # A file's name need not be UTF-8, JSON must be.
        "manifest": str(source).encode(errors="backslashreplace").decode(),
        "segments": corpus.digest(*dict.fromkeys(columns)),
        "audio": key(*got.digests),
        "left_out": dict(_reasons(rejected)),
    }
    if version := task_version(name):
        about["code"] = version[name]
    tested = np.any([part == TEST for part in parts], axis=0)
    for one in SPLITS:
        stretches = made[0].stretches
        inside = np.sort(stretches.segment[stretches.part[stretches.stretch] == one])
        chosen = np.flatnonzero(tested) if one == TEST else inside
        about[one] = {
            "segments": len(chosen),
            "hours": round(float(got.frames[chosen].sum() * audio.HOP / 3600), 4),
        }
        if "speaker" in corpus.columns:
            about[one]["speakers"] = len(set(corpus.columns["speaker"][chosen].tolist()))
    return _Prepared(name, settings, tuple(made), about)


def _fold(
    what: type[Task],
    settings: EvaluateSettings,
    corpus: Corpus,
    part: NDArray,
    got: ExtractedClips,
    plan: Plan,
    rejected: list[Rejected],
) -> _Fold:
    task = what(settings, corpus, part, got.frames)
    longest = round(settings.longest / audio.HOP)
    left_out = task.unfit()
    if not task.crop:
        for i in np.flatnonzero(got.frames > longest):
            detail = f"{got.frames[i] * audio.HOP:.2f} s, and longest is {settings.longest:g} s"
            left_out.append((int(i), "longer-than-longest", detail))
    part = part.copy()
    for place, reason, detail in left_out:  # not to be trained on, but tested all the same
        if part[place] != TEST:
            part[place] = ""
            rejected.append(corpus.reject(place, reason, detail))
    for one in SPLITS:
        if not (part == one).any():
            raise InputError(f"no segment is left to {one} on: {dict(_reasons(rejected))}")
    whole = np.array(got.whole, np.int64)
    order, rows = given.spans(
        corpus.recording, got.first, got.frames, part, whole, longest=longest, alone=what.alone
    )
    counts = rows[:, 4] - rows[:, 3]
    used = part[order[rows[:, 3]]] != ""
    order, rows, counts = order[np.repeat(used, counts)], rows[used], counts[used]
    clips = Clips(
        plan, (), "published", corpus.recordings, corpus.names, tuple(got.digests),
        rows[:, 0], rows[:, 1], rows[:, 2], np.zeros(len(rows), bool),
    )  # fmt: skip
    stretch = np.repeat(np.arange(len(rows)), counts)
    begins = np.cumsum(counts) - counts
    first = got.first[order] - rows[stretch, 1]
    stretches = Stretches(clips, part[order[begins]], order, stretch, first, got.frames[order])
    return _Fold(task, stretches)


def _reasons(rejected: Sequence[Rejected]) -> Iterator[tuple[str, int]]:
    yield from sorted(Counter(one.reason for one in rejected).items())


def _known(folder: Path, ready: _Prepared) -> Evaluation:
    """The evaluation in the folder, or a new one; InputError if it holds another."""
    task, settings = ready.folds[0].task, ready.settings.to_dict()
    made_with = versions("torch")
    new = Evaluation(
        ready.name, task.metric, settings, ready.about, (), made_with, tuple(task.warnings)
    )
    if not (folder / "results.json").exists():
        return new
    known = results.read_evaluation(folder / "results.json")
    # A folder may hold what was frozen and what was trained along, side by side.
    asked, there = ({**one, "mode": ""} for one in (settings, known.settings))
    unlike = config.differences({"task": ready.name}, {"task": known.task})
    unlike += config.differences(asked, there)
    unlike += config.differences(ready.about, known.data, "data.")
    if unlike:
        raise InputError(
            f"{folder} holds another evaluation: {'; '.join(unlike[:5])} there. Give those again "
            "to add to it, or choose another --out"
        )
    return replace(new, models=known.models)


def _with(all_: Evaluation, front: _Front, outcome: Outcome) -> Evaluation:
    """The evaluation with one outcome more, or anew."""
    found = list(all_.models)
    at = next(
        (k for k, one in enumerate(found) if (one.name, one.mode) == (front.name, front.mode)), None
    )
    if at is None:
        found.append(Model(front.name, front.mode, front.pretrained))
        at = len(found) - 1
    others = [one for one in found[at].outcomes if one.seed != outcome.seed]
    outcomes = tuple(sorted([*others, outcome], key=lambda one: one.seed))
    found[at] = replace(found[at], pretrained=front.pretrained, outcomes=outcomes)
    return replace(all_, models=tuple(found))


# -------------------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class _Run:
    """A task done on one encoder with one seed."""

    ready: _Prepared
    front: _Front
    seed: int
    out: Path
    cached: Path  # where features are kept
    here: ProcessGroup
    minutes: float
    reporter: Reporter | None

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.out / "runs" / f"{self.front.name}-{self.front.mode}" / f"seed{self.seed}"

    @property
    def key(self) -> str:
        """Names the run: the same for the same settings, data, encoder and seed."""
        ready, front = self.ready, self.front
        settings = {**ready.settings.to_dict(), "mode": front.mode}
        data = [ready.about[name] for name in ("segments", "audio")]
        who = (front.name, front.digest, self.seed)
        return key(results.FORMAT, ready.name, settings, data, *who)

    def outcome(self) -> Outcome:
        """What came out, if need be after training."""
        known = self._known()
        if known:
            return known
        done = [self._trained(fold, k) for k, fold in enumerate(self.ready.folds)]
        if not self.here.rank:
            self._write(done)
        self.here.wait()
        outcome = self._known()
        assert outcome
        return outcome

    def _trained(self, fold: _Fold, k: int) -> _Trained:
        """The model of the best epoch."""
        source, model = self._made(fold)
        settings = self.ready.settings
        training = _Training(fold, source, settings, self.seed, self.here)
        schedule = Schedule(
            settings.epochs, settings.learning_rate, settings.schedule, settings.clip,
            settings.patience, settings.max_skipped, self.seed, self.minutes,
        )  # fmt: skip
        state = self.folder / STATE_FOLDER / str(k)
        state.mkdir(parents=True, exist_ok=True)
        name = "log.jsonl" if len(self.ready.folds) == 1 else f"log-{k}.jsonl"
        run = TrainingLoop(
            training, model, _optimisers(model, settings), schedule, state, self.folder / name,
            self.key, self.here, self.reporter or Reporter(),
        )  # fmt: skip
        trained = run.train()
        self.here.wait()  # until what is the best epoch's is written
        best = checkpoint.load(state / "best", model, key=self.key)
        return _Trained(model.eval(), training, trained, best["epoch"] if best else trained.epoch)

    def _known(self) -> Outcome | None:
        path = self.folder / "result.json"
        try:
            whose, plain = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"{path}: damaged; delete it, and the run is done again") from error
        if whose != self.key:
            raise InputError(
                f"{path}: of another run (the encoder {self.front.name} has changed since, "
                "perhaps); delete its folder, or choose another --out"
            )
        return Outcome.of(plain)

    def _made(self, fold: _Fold) -> tuple[Source, Downstream]:
        """Where features come from, and the model, untrained."""
        front, here, settings = self.front, self.here, self.ready.settings
        clips, training = fold.stretches.clips, fold.stretches.of(TRAIN)
        mel = Mel(clips)
        source: Source = mel
        inside: Encoder | None = None
        (mean, deviation), width = fold.mel_statistics, mel.width
        if front.load is not None:
            encoder, name = front.load(self.seed, mean, deviation)
            cached = front.mode == "frozen" and settings.cache
            features = Encoded(
                clips, encoder.to(here.device), name, self.cached if cached else None
            )
            if cached:
                features.fill(here, self.reporter)
                here.wait()
                source = features
            else:
                inside = encoder
            mean, deviation = given.statistics(features, training)
            width = features.width
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            head = fold.task.head(width)
        frozen = front.mode == "frozen"
        model = Downstream(head, mean, deviation, inside, frozen=frozen, centred=settings.centred)
        return source, model.to(here.device)

    def _write(self, done: Sequence[_Trained]) -> None:
        """Score, and write what came out; then what was needed to go on is gone."""
        began, clock = time.monotonic(), {"frames": 0}
        task = self.ready.folds[0].task

        def predict(part: str) -> tuple[NDArray[np.int64], list[Any]]:
            found = [self._predicted(one, part, clock) for one in done]
            places = np.concatenate([at for at, _ in found])
            values = [value for _, some in found for value in some]
            order = np.argsort(places, kind="stable")
            return places[order], [values[k] for k in order]

        outcome = task.score(predict, self.seed)
        spent = time.monotonic() - began
        wall = sum(one.state.seconds for one in done)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        about = {
            **outcome.about,
            "best_epoch": done[0].epoch,
            "epochs": done[0].state.epoch,
            "seconds": round(wall, 1),
            "real_time": round(sum(one.state.audio_seconds for one in done) / max(wall, 1e-9), 1),
            "scoring_seconds": round(spent, 1),
            "scoring_real_time": round(clock["frames"] * audio.HOP / max(spent, 1e-9), 1),
            "memory_gb": round(peak, 2),  # of the process so far
            "parameters": sum(p.numel() for p in done[0].model.parameters() if p.requires_grad),
            "skipped": [words for one in done for words in one.state.skipped],
        }
        outcome = replace(outcome, history=tuple(done[0].state.history), about=about)
        for k, one in enumerate(done):
            name = "model.safetensors" if len(done) == 1 else f"model-{k}.safetensors"
            state = one.model.state_dict()
            weights = {one: value.cpu().numpy() for one, value in state.items()}
            write_atomically(self.folder / name, safetensors.numpy.save(weights))
        plain = json.dumps([self.key, asdict(outcome)])
        write_atomically(self.folder / "result.json", plain + "\n")  # last: all is there
        shutil.rmtree(self.folder / STATE_FOLDER)

    def _predicted(
        self, one: _Trained, part: str, clock: dict[str, int]
    ) -> tuple[list[int], list[Any]]:
        """A trained model's predictions of a part: places of segments, and values."""
        places: list[int] = []
        values: list[Any] = []
        with torch.inference_mode():
            for data in read_ahead(one.training.read, one.training.plans(part)):
                moved = data.to(self.here.device)
                values += one.model.head.predict(one.model.features(moved), moved)
                places += data.segments.tolist()
                clock["frames"] += int(data.lengths.sum())
        return places, values


@dataclass(frozen=True)
class _Trained:
    """A model after training, with the weights of its best epoch."""

    model: Downstream
    training: _Training
    state: TrainingState
    epoch: int  # the best


class _Training:
    """Stretches in, the task's losses out; see learning.training.Task."""

    def __init__(
        self, fold: _Fold, source: Source, settings: EvaluateSettings, seed: int, here: ProcessGroup
    ) -> None:
        self.task, self.stretches, self.source = fold.task, fold.stretches, source
        self.seed, self.here = seed, here
        self.loss_names, self.loss_weights = list(fold.task.parts), list(fold.task.weights)
        self.criterion = fold.task.criterion
        self.most = round(settings.batch_seconds / audio.HOP)

    def epoch_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = np.random.default_rng((self.seed, epoch))
        chosen, crop = self.stretches.of(TRAIN), round(self.task.crop / audio.HOP)
        return given.planned(
            self.stretches, chosen, self.most, rng=rng, crop=crop, least=self.here.size
        )

    def plans(self, part: str) -> list[NDArray[np.int64]]:
        """The batches of a part, in whole stretches and always the same order."""
        most = max(self.most, round(SCORED / audio.HOP))
        return given.planned(self.stretches, self.stretches.of(part), most)

    def read(self, indices: NDArray[np.int64]) -> Batch:
        return given.read_batch(self.source, self.stretches, self.task.targets, indices)

    def losses(self, model: nn.Module, data: Batch) -> tuple[Tensor, Tensor]:
        device = self.here.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return model(data.to(device))

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        read = read_ahead(self.read, self.plans(VALIDATION)[self.here.rank :: self.here.size])
        losses = partial(self.losses, model)
        return sum_over_batches(losses, read, self.here.device, stop, count=len(self.loss_names))

    def seconds(self, indices: NDArray[np.int64]) -> float:
        return float(indices[:, 2].sum() * audio.HOP)

    def describe(self, indices: NDArray[np.int64]) -> str:
        return self.stretches.clips.describe(indices[:, 0])


def _optimisers(model: Downstream, settings: EvaluateSettings) -> list[torch.optim.Optimizer]:
    rate = settings.learning_rate
    found: list[torch.optim.Optimizer] = [torch.optim.Adam(model.head.parameters(), rate)]
    if model.encoder and not model.frozen:
        encoder = {
            "params": list(model.encoder.parameters()),
            "share": settings.encoder_rate / rate,
        }
        found.append(torch.optim.SGD([encoder], settings.encoder_rate, settings.momentum))
    return found
