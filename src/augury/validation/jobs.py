"""Jobs of an experiment: each is named by all that it depends on, and done only once.

A job's folder in the store holds its output, its log, and result.json when it is done. A job that
was stopped or killed is resumed; one that failed is tried again by the next run.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from augury import audio
from augury.corpus.corpus import Corpus
from augury.errors import InputError, MissingFile, explain_os_errors
from augury.pretraining.settings import PretrainSettings
from augury.reporter import Progress, Reporter, TrainingProgress
from augury.store import digest, key, write_atomically
from augury.validation.recipe import FILE_SETTINGS

if TYPE_CHECKING:
    from augury.pretraining.result import Pretrained

#: Raised when the same job would give another result.
VERSION = 2
#: A corpus's length is estimated from the headers of so many recordings.
SAMPLED_HEADERS = 100
#: Seconds between two checks whether another process has released a job.
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class JobCorpus:
    """A corpus that a job reads."""

    manifest: str
    level: str
    digest: str  # of its segments, all columns, and the sizes of its files
    hours: float = 0.0  # of audio, about

    def read(self) -> Corpus:
        """The corpus, from its manifest."""
        return read_job_corpus(self.manifest, self.level)


def read_job_corpus(manifest: str, level: str) -> Corpus:
    """A corpus that a recipe names, wherever its audio lies."""
    from augury.corpus.read import read_corpus

    # A recipe's author has chosen the manifest, so its audio may lie outside its folder.
    return read_corpus(manifest, allow_outside=True, level=level or None)


def describe_corpus(corpus: Corpus, manifest: str, level: str) -> JobCorpus:
    """A corpus by its digest, in which an audio file counts by its name and size alone."""
    with explain_os_errors(corpus.source):
        sizes = [path.stat().st_size if path.exists() else -1 for path in corpus.recordings]
    columns = sorted(corpus.columns)
    content = key(corpus.digest(*columns), columns, sizes)
    return JobCorpus(manifest, level, content, _hours(corpus))


def _hours(corpus: Corpus) -> float:
    """About how many hours of audio there are, from the headers of evenly spaced recordings."""
    count = len(corpus.recordings)
    sampled = np.unique(np.linspace(0, max(count - 1, 0), min(count, SAMPLED_HEADERS)).astype(int))
    lengths: list[float] = []
    for index in cast(list[int], sampled.tolist()):
        with suppress(OSError, ValueError):
            header = audio.header(corpus.recordings[index])
            lengths.append(header.frames / header.rate)
    return count * sum(lengths) / max(len(lengths), 1) / 3600


@dataclass(frozen=True)
class Job:
    """A pretraining or an evaluation of an experiment."""

    name: str  # for people
    kind: str  # a key of `KINDS`
    data: JobCorpus
    settings: dict[str, Any]  # plain values: all that the result depends on, beside the data
    needs: Job | None = None  # the job whose output it starts from
    # Versions of the user's functions, by name.
    code: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def key(self) -> str:
        """Its name in the store: the same for the same settings and inputs, wherever they lie."""
        before = self.needs.key if self.needs else ""
        # A result does not depend on where a file lies.
        settings = {
            name: value for name, value in self.settings.items() if name not in FILE_SETTINGS
        }
        if settings.get("encoder") == "random":
            sizes = PretrainSettings.of(self.settings["random_encoder"], {}).encoder
            settings["sizes"] = asdict(sizes)
        code = [dict(self.code)] if self.code else []
        return key("job", VERSION, self.kind, self.data.digest, settings, before, *code)

    def folder(self, store: Path) -> Path:
        """The folder of its output."""
        return store / "jobs" / self.key

    def read_result(self, store: Path) -> dict[str, Any] | None:
        """Its result; None if it is not done yet, or if its file is damaged."""
        path = self.folder(store) / "result.json"
        try:
            with explain_os_errors(path):
                content = path.read_bytes()
        except MissingFile:
            return None
        try:
            checksum, text = content.decode().split("\n", 1)
            return json.loads(text) if digest(text.encode()) == checksum else None
        except ValueError:
            return None


@dataclass(frozen=True)
class RunOptions:
    """Store, device and interval of checkpoints (minutes) of jobs."""

    store: Path
    device: str = ""
    minutes: float = 10.0


@dataclass(frozen=True)
class JobOutcome:
    """A job's result, or why it failed."""

    job: Job
    result: dict[str, Any] | None  # None: it failed
    reason: str = ""  # of the failure, on one line
    log: Path | None = None


@dataclass
class _Log(Reporter):
    path: Path
    last_written: float = field(default_factory=time.monotonic)  # the last line of training

    def write(self, text: str) -> None:
        with explain_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    message = warning = write

    def progress(self, event: Progress) -> None:
        """Write a line on training every half a minute."""
        if isinstance(event, TrainingProgress) and time.monotonic() - self.last_written >= 30:
            self.last_written = time.monotonic()
            losses = " ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            self.write(
                f"epoch {event.epoch}/{event.epochs}, batch {event.batch}/{event.batches}, "
                f"× {event.speed:.0f} real time: {losses}"
            )


def run_chain(options: RunOptions, chain: Sequence[Job]) -> list[JobOutcome]:
    """Run jobs in order, except those that are done; cached features are deleted at the end.

    If a job fails, only the jobs that need it are skipped.
    """
    from augury.learning.training import with_threads

    # Named by all jobs: another chain may evaluate the same encoder on another task.
    features = options.store / "jobs" / f"features-{key(*(job.key for job in chain))}"
    outcomes: list[JobOutcome] = []
    failed: set[str] = set()
    with with_threads(1):  # on any machine, as the number of threads changes how sums are rounded
        for job in chain:
            if job.needs and job.needs.key in failed:
                outcome = JobOutcome(job, None, f"{job.needs.name} failed")
            else:
                outcome = _run_job(options, job, features)
            if outcome.result is None:
                failed.add(job.key)
            outcomes.append(outcome)
    shutil.rmtree(features, ignore_errors=True)
    return outcomes


def _run_job(options: RunOptions, job: Job, features: Path) -> JobOutcome:
    if result := job.read_result(options.store):
        return JobOutcome(job, result)
    from augury.learning.processes import FolderInUse
    from augury.learning.training import Stopped

    folder = job.folder(options.store)
    log = _Log(folder / "log.txt")
    log.write(f"{job.name}, {platform.node()}")
    began = time.monotonic()
    while True:
        try:
            result = KINDS[job.kind](options, job, features, log)
            result |= {
                "job_seconds": round(time.monotonic() - began, 1),
                "machine": platform.processor() or platform.machine(),
                "date": str(date.today()),
            }
            write_result(options.store, job, result)
            log.write("done")
            return JobOutcome(job, result)
        except FolderInUse:  # by another run, or by a process that a killed run has left behind
            time.sleep(RETRY_SECONDS)
        except Stopped as stopped:  # this stops the whole experiment
            log.write(str(stopped))
            raise
        except Exception as error:
            # Any other error fails this job alone; the log has the traceback.
            log.write(traceback.format_exc())
            return JobOutcome(
                job, None, f"{type(error).__name__}: {error}".splitlines()[0], log.path
            )


def write_result(store: Path, job: Job, result: Mapping[str, Any]) -> None:
    """Mark a job as done; InputError if a number of its result is not finite."""
    try:
        text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise InputError(f"not every number of the result is finite: {result}") from error
    write_atomically(job.folder(store) / "result.json", f"{digest(text.encode())}\n{text}")


# ---------------------------------------------------------------------------------------- kinds


def _pretrain(options: RunOptions, job: Job, features: Path, log: _Log) -> dict[str, Any]:
    pretrained = run_pretraining(
        job, job.folder(options.store) / "encoder", store=options.store, jobs=1,
        device=options.device or None, minutes=options.minutes, reporter=log,
    )  # fmt: skip
    assert pretrained
    return {
        name: pretrained.result[name]
        for name in ("best_epoch", "seconds", "validation", "training")
    }


def run_pretraining(job: Job, out: Path, **resources: Any) -> Pretrained | None:
    """Run `augury.pretrain` with a job's settings, in the job's own folder."""
    from augury.pretraining.pretrain import AnotherRun, pretrain

    settings = dict(job.settings)
    names = settings.pop("pseudo_labels")
    try:
        return pretrain(job.data.read(), names, out=out, **settings, **resources)
    except AnotherRun:  # its key was the same, but not all details, such as an older own:noise
        shutil.rmtree(out)
        return pretrain(job.data.read(), names, out=out, **settings, **resources)


def _evaluate(options: RunOptions, job: Job, features: Path, log: _Log) -> dict[str, Any]:
    from augury.downstream.evaluate import AnotherEvaluation, evaluate

    settings = dict(job.settings)
    baseline = settings.pop("encoder")
    encoder = job.needs.folder(options.store) / "encoder" if job.needs else baseline
    out = job.folder(options.store) / "evaluation"
    run = partial(
        evaluate, settings.pop("task"), job.data.read(), encoder, out=out, store=options.store,
        features=features, jobs=1, device=options.device or None, minutes=options.minutes,
        reporter=log, **settings,
    )  # fmt: skip
    try:
        evaluation = run()
    except AnotherEvaluation:  # its key was the same, but not all details, such as a moved corpus
        shutil.rmtree(out)
        evaluation = run()
    (model,) = evaluation.models
    outcomes = [
        {
            "seed": outcome.seed,
            "error": outcome.score,
            "interval": outcome.interval,
            "scores": outcome.scores,
            "seconds": outcome.about["seconds"],
            "epochs": outcome.about["epochs"],
        }
        for outcome in model.outcomes
    ]
    return {"metric": evaluation.metric.name, "data": evaluation.data, "outcomes": outcomes}


#: The function that runs each kind of job.
KINDS: dict[str, Callable[[RunOptions, Job, Path, _Log], dict[str, Any]]] = {
    "pretrain": _pretrain,
    "evaluate": _evaluate,
}
