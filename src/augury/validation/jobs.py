"""Jobs of an experiment: each named by all it depends on, done once, and known from then on.

A job's folder in the store holds what it made, its log, and at last result.json. A job that was
stopped or killed goes on where it was; one that failed is tried again by the next run.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from augury import audio
from augury.corpus.corpus import Corpus
from augury.errors import InputError
from augury.pretraining.settings import PretrainSettings
from augury.reporter import Progress, Reporter, TrainingProgress
from augury.store import digest, key, write_atomically
from augury.validation.recipe import FILE_SETTINGS

if TYPE_CHECKING:
    from augury.pretraining.result import Pretrained

#: Changes when the same job would give another result.
VERSION = 2
#: Recordings whose headers tell how long a corpus is.
SAMPLED_HEADERS = 100
#: Seconds between two looks at whether another process has let go of a job.
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class JobCorpus:
    """A corpus as jobs name it."""

    manifest: str
    level: str
    digest: str  # of its segments, all columns, and the sizes of its files
    hours: float = 0.0  # of audio, about

    def read(self) -> Corpus:
        """The corpus."""
        return read_job_corpus(self.manifest, self.level)


def read_job_corpus(manifest: str, level: str) -> Corpus:
    """A corpus that a recipe names."""
    from augury.corpus.read import read_corpus

    # Whoever writes a recipe says where audio lies.
    return read_corpus(manifest, allow_outside=True, level=level or None)


def describe_corpus(corpus: Corpus, manifest: str, level: str) -> JobCorpus:
    """A corpus by its digest. Audio is not read: a file counts by its name and size."""
    sizes = [path.stat().st_size if path.exists() else -1 for path in corpus.recordings]
    columns = sorted(corpus.columns)
    content = key(corpus.digest(*columns), columns, sizes)
    return JobCorpus(manifest, level, content, _hours(corpus))


def _hours(corpus: Corpus) -> float:
    """Of its recordings, by some of them evenly spread."""
    count = len(corpus.recordings)
    looked = np.unique(np.linspace(0, max(count - 1, 0), min(count, SAMPLED_HEADERS)).astype(int))
    found = []
    for place in looked.tolist():
        with suppress(OSError, ValueError):
            header = audio.header(corpus.recordings[place])
            found.append(header.frames / header.rate)
    return count * sum(found) / max(len(found), 1) / 3600


@dataclass(frozen=True)
class Job:
    """One thing to be done."""

    name: str  # in words
    kind: str  # a key of `KINDS`
    data: JobCorpus
    settings: dict[str, Any]  # plain values: all that the result depends on, beside the data
    needs: Job | None = None  # whose result it starts from
    code: Mapping[str, str] = field(default_factory=dict)  # function → version, of the user's

    @cached_property
    def key(self) -> str:
        """Names it: the same for the same settings and inputs, wherever they lie."""
        before = self.needs.key if self.needs else ""
        # Where a file lies is not what a result depends on.
        settings = {
            name: value for name, value in self.settings.items() if name not in FILE_SETTINGS
        }
        if settings.get("encoder") == "random":
            sizes = PretrainSettings.of(self.settings["random_encoder"], {}).encoder
            settings["sizes"] = asdict(sizes)
        code = [dict(self.code)] if self.code else []
        return key("job", VERSION, self.kind, self.data.digest, settings, before, *code)

    def folder(self, store: Path) -> Path:
        """Where what it makes lies."""
        return store / "jobs" / self.key

    def read_result(self, store: Path) -> dict[str, Any] | None:
        """Its result; None if it is not done yet, or what was written is damaged."""
        try:
            checksum, text = (self.folder(store) / "result.json").read_text("utf-8").split("\n", 1)
            return json.loads(text) if digest(text.encode()) == checksum else None
        except (FileNotFoundError, ValueError):
            return None


@dataclass(frozen=True)
class RunOptions:
    """Where and with what jobs are done."""

    store: Path
    device: str = ""
    minutes: float = 10.0


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job."""

    job: Job
    result: dict[str, Any] | None  # None: it failed
    reason: str = ""  # why, in a line
    log: Path | None = None


@dataclass
class _Log(Reporter):
    path: Path
    last_written: float = field(default_factory=time.monotonic)  # when training was last written of

    def write(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    message = warning = write

    def progress(self, event: Progress) -> None:
        """A line of training every half a minute."""
        if isinstance(event, TrainingProgress) and time.monotonic() - self.last_written >= 30:
            self.last_written = time.monotonic()
            losses = " ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            self.write(
                f"epoch {event.epoch}/{event.epochs}, batch {event.batch}/{event.batches}, "
                f"× {event.speed:.0f} real time: {losses}"
            )


def run_chain(site: RunOptions, chain: Sequence[Job]) -> list[JobOutcome]:
    """Do some jobs in order, those that are not known; cached features go when all are done.

    A failure is a result too: only what needs the failed job is left out.
    """
    from augury.learning.training import with_threads

    # Another chain may judge the same encoder by another task.
    features = site.store / "jobs" / f"features-{key(*(job.key for job in chain))}"
    found: list[JobOutcome] = []
    failed: set[str] = set()
    with with_threads(1):  # wherever it runs: sums round by the number of threads
        for job in chain:
            if job.needs and job.needs.key in failed:
                done = JobOutcome(job, None, f"{job.needs.name} failed")
            else:
                done = _run_job(site, job, features)
            if done.result is None:
                failed.add(job.key)
            found.append(done)
    shutil.rmtree(features, ignore_errors=True)
    return found


def _run_job(site: RunOptions, job: Job, features: Path) -> JobOutcome:
    known = job.read_result(site.store)
    if known:
        return JobOutcome(job, known)
    from augury.learning.processes import FolderInUse
    from augury.learning.training import Stopped

    folder = job.folder(site.store)
    log = _Log(folder / "log.txt")
    log.write(f"{job.name}, {platform.node()}")
    began = time.monotonic()
    while True:
        try:
            result = KINDS[job.kind](site, job, features, log)
            result |= {
                "job_seconds": round(time.monotonic() - began, 1),
                "machine": platform.processor() or platform.machine(),
                "date": str(date.today()),
            }
            write_result(site.store, job, result)
            log.write("done")
            return JobOutcome(job, result)
        except FolderInUse:  # what a killed run left behind is still at it, or another run
            time.sleep(RETRY_SECONDS)
        except Stopped as stopped:  # it is the experiment that was asked to stop
            log.write(str(stopped))
            raise
        except Exception as error:
            # Whatever it is: the others go on, and the log says all.
            log.write(traceback.format_exc())
            return JobOutcome(
                job, None, f"{type(error).__name__}: {error}".splitlines()[0], log.path
            )


def write_result(store: Path, job: Job, result: Mapping[str, Any]) -> None:
    """Let the job be known; ValueError where a number of its result is not finite."""
    try:
        text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        raise InputError(f"not every number of what came out is finite: {result}") from error
    write_atomically(job.folder(store) / "result.json", f"{digest(text.encode())}\n{text}")


# ---------------------------------------------------------------------------------------- kinds


def _pretrain(site: RunOptions, job: Job, features: Path, log: _Log) -> dict[str, Any]:
    done = run_pretraining(
        job, job.folder(site.store) / "encoder", store=site.store, jobs=1,
        device=site.device or None, minutes=site.minutes, reporter=log,
    )  # fmt: skip
    assert done
    return {name: done.result[name] for name in ("best_epoch", "seconds", "validation", "training")}


def run_pretraining(job: Job, out: Path, **where: Any) -> Pretrained | None:
    """`augury.pretrain` as a job says, in a folder that is its own."""
    from augury.pretraining.pretrain import AnotherRun, pretrain

    settings = dict(job.settings)
    names = settings.pop("pseudo_labels")
    try:
        return pretrain(job.data.read(), names, out=out, **settings, **where)
    except AnotherRun:  # begun with what counts as the same here, such as another own:noise
        shutil.rmtree(out)
        return pretrain(job.data.read(), names, out=out, **settings, **where)


def _evaluate(site: RunOptions, job: Job, features: Path, log: _Log) -> dict[str, Any]:
    from augury.downstream.evaluate import AnotherEvaluation, evaluate

    settings = dict(job.settings)
    baseline = settings.pop("encoder")
    encoder = job.needs.folder(site.store) / "encoder" if job.needs else baseline
    out = job.folder(site.store) / "evaluation"
    run = partial(
        evaluate, settings.pop("task"), job.data.read(), encoder, out=out, store=site.store,
        features=features, jobs=1, device=site.device or None, minutes=site.minutes,
        reporter=log, **settings,
    )  # fmt: skip
    try:
        done = run()
    except AnotherEvaluation:  # begun with what counts as the same here, such as a moved corpus
        shutil.rmtree(out)
        done = run()
    (contender,) = done.models
    outcomes = [
        {
            "seed": one.seed,
            "error": one.score,
            "interval": one.interval,
            "scores": one.scores,
            "seconds": one.about["seconds"],
            "epochs": one.about["epochs"],
        }
        for one in contender.outcomes
    ]
    return {"metric": done.metric.name, "data": done.data, "outcomes": outcomes}


#: How each kind of job is done.
KINDS: dict[str, Callable[[RunOptions, Job, Path, _Log], dict[str, Any]]] = {
    "pretrain": _pretrain,
    "evaluate": _evaluate,
}
