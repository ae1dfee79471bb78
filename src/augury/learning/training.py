"""The training loop, and how a run survives: killed, preempted, out of disk, or fed a bad batch.

Nothing that a batch depends on is left to chance or to time: the order of batches follows from seed
and epoch, and torch's random numbers are seeded anew for each batch. So a run that goes on from a
checkpoint ends with the weights it would have had anyway; on a CPU, to the last bit.
It goes on with as many threads as it began with.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from augury.errors import InputError
from augury.learning import checkpoint
from augury.learning.batches import read_ahead
from augury.learning.objective import Data, Indices, Objective
from augury.learning.processes import ProcessGroup
from augury.learning.signals import stop_on_signals
from augury.reporter import Reporter, TrainingProgress
from augury.store import write_atomically

#: Batches between two lines of the log.
LOG_EVERY = 20


class TooManyNotFinite(FloatingPointError, InputError):
    """More batches than allowed had a loss or gradient that is not finite."""


class Stopped(RuntimeError):
    """The run was asked to stop, and has; `signal` is what asked."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.signal = received

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        """As another process gets it: with the signal."""
        return Stopped, (str(self), self.signal)


@dataclass(frozen=True)
class Schedule:
    """How a model is optimised."""

    epochs: int
    learning_rate: float
    shape: str  # "constant", "linear" or "cosine"
    clip: float  # largest norm of the gradient
    patience: int  # epochs without improvement; 0: any number
    max_skipped: int  # batches
    seed: int
    checkpoint_minutes: float = 10.0  # between checkpoints

    def learning_rate_at(self, done: float) -> float:
        """The learning rate when this share of the run is done."""
        if self.shape == "constant":
            return self.learning_rate
        if self.shape == "linear":
            return self.learning_rate * (1 - 0.9 * done)
        rising = min(1.0, (done + 1e-3) / 0.05)
        return self.learning_rate * rising * (0.5 + 0.5 * math.cos(math.pi * done))


@dataclass
class TrainingState:
    """How far a run is; all of it is in its checkpoints."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in this one
    step: int = 0  # batches done in all
    best_value: float | None = None  # lowest value of the criterion
    epochs_since_best: int = 0  # epochs since
    skipped: list[str] = field(default_factory=list)  # batches not finite, in words
    sums: list[float] = field(default_factory=list)  # of this epoch's losses
    counts: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry an epoch
    processes: int = 1  # that the batches of this epoch are shared by
    threads: int = 0  # that each computes with: with others, sums round otherwise
    seconds: float = 0.0  # seconds spent
    audio_seconds: float = 0.0  # seconds of audio trained on


@dataclass
class TrainingLoop(Generic[Indices, Data]):
    """One model, trained in one folder.

    `key` says which: a checkpoint of another run is refused.
    """

    objective: Objective[Indices, Data]
    model: nn.Module
    #: A parameter group's `share`, if it has one, is of the schedule's rate.
    optimisers: Sequence[torch.optim.Optimizer]
    schedule: Schedule
    folder: Path  # of checkpoint and best weights
    log: Path
    key: str
    group: ProcessGroup
    reporter: Reporter = field(default_factory=Reporter)

    def __post_init__(self) -> None:
        self.state = TrainingState(processes=self.group.size, threads=torch.get_num_threads())
        self._parallel_model = self.model
        if self.group.size > 1:
            gpu = [self.group.device.index] if self.group.device.type == "cuda" else None
            self._parallel_model = DistributedDataParallel(self.model, device_ids=gpu)

    def train(self) -> TrainingState:
        """Train to the end, from the last checkpoint if there is one.

        Raises:
            Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
            FloatingPointError: more batches than `max_skipped` were not finite.
            InputError: the checkpoint is damaged or of another run.
        """
        self._resume()
        with (
            stop_on_signals() as stop,
            torch.random.fork_rng(_gpus(self.group)),
            with_threads(self.state.threads),
        ):
            self._began = self._saved = self._counted = time.monotonic()
            self._before, self._first = self.state.audio_seconds, self.state.step
            while self.state.epoch < self.schedule.epochs and not self._out_of_patience():
                self._train_epoch(stop)
        return self.state

    def _resume(self) -> None:
        path = self.folder / "checkpoint"
        if not self.group.rank:  # what a kill left half written
            for left in self.folder.glob(".*"):
                left.unlink(missing_ok=True)
        about = checkpoint.load(path, self.model, *self.optimisers, key=self.key)
        if about:
            self.state = TrainingState(**about)
        if self.state.batch and self.state.processes != self.group.size:
            self.reporter.warning(
                f"{self.group.size} processes, and {self.state.processes} before: batches are cut "
                f"otherwise, so epoch {self.state.epoch + 1} begins again"
            )
            self.state.batch = 0
        self.state.processes = self.group.size
        self._trim_log()

    def _out_of_patience(self) -> bool:
        return 0 < self.schedule.patience <= self.state.epochs_since_best

    def _train_epoch(self, stop: list[int]) -> None:
        now, task = self.state, self.objective
        batches = task.epoch_batches(now.epoch)
        if not now.batch:
            now.sums, now.counts = [0.0] * len(task.loss_names), [0.0] * len(task.loss_names)
        left = batches[now.batch :]
        self.model.train()
        mine = [self._own_share(indices) for indices in left]
        for indices, data in zip(left, read_ahead(task.read, mine), strict=True):
            done = (now.epoch + now.batch / len(batches)) / self.schedule.epochs
            stopping = self._train_batch(indices, data, self.schedule.learning_rate_at(done), stop)
            now.batch += 1
            now.step += 1
            self._report_progress(len(batches))
            if stopping:
                self._save()
                raise self._stop_error(f"after {now.batch} of {len(batches)} batches", stop)
            if time.monotonic() - self._saved > 60 * self.schedule.checkpoint_minutes:
                self._save()
        self._save()  # validation may take longer than a scheduler waits
        self._end_epoch(stop)

    def _stop_error(self, where: str, stop: list[int]) -> Stopped:
        message = f"stopped in epoch {self.state.epoch + 1} {where}"
        asked = stop[0] or signal.SIGTERM
        return Stopped(f"{message}; the same command goes on from there", asked)

    def _own_share(self, indices: Indices) -> Indices:
        """This process's part of a batch."""
        return indices[self.group.rank :: self.group.size]  # type: ignore[index]

    def _train_batch(self, indices: Indices, data: Data, rate: float, stop: list[int]) -> bool:
        """One batch; returns whether any process was asked to stop."""
        now, group = self.state, self.group
        torch.manual_seed(_batch_seed(self.schedule.seed, now.step, group.rank))
        for optimiser in self.optimisers:
            for settings in optimiser.param_groups:
                settings["lr"] = rate * settings.get("share", 1.0)
            optimiser.zero_grad(set_to_none=True)
        buffers = [one.clone() for one in self.model.buffers()]
        sums, counts = self.objective.losses(self._parallel_model, data)
        # What all processes need to know of each other, in one exchange.
        shared = torch.cat([counts, sums.detach(), counts.new_tensor([float(stop[0])])])
        shared = group.sum(shared)
        known = len(counts)
        weights = counts.new_tensor(self.objective.loss_weights) / shared[:known].clamp_min(1)
        # Gradients are averaged over processes, and the loss is a sum over them.
        (weights @ sums * group.size).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        if bool(torch.isfinite(norm) & torch.isfinite(shared[known:-1]).all()):
            for optimiser in self.optimisers:
                optimiser.step()
            values = shared.tolist()
            for k in range(known):
                now.counts[k] += values[k]
                now.sums[k] += values[known + k]
        else:
            self._skip(indices, buffers)
        now.audio_seconds += self.objective.seconds(indices)
        return bool(shared[-1])

    def _skip(self, indices: Indices, buffers: list[Tensor]) -> None:
        now = self.state
        with torch.no_grad():  # statistics of the batch norm may hold what was not finite
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        words = self.objective.describe(indices)
        now.skipped.append(f"epoch {now.epoch + 1}, batch {now.batch + 1}: {words}")
        self._write({"step": now.step + 1, "skipped": words})
        self.reporter.warning(f"skipped a batch whose loss or gradient is not finite: {words}")
        if len(now.skipped) > self.schedule.max_skipped:
            raise TooManyNotFinite(
                f"{len(now.skipped)} batches had a loss or gradient that is not finite, and "
                f"max_skipped is {self.schedule.max_skipped}; the last: {words}. Lower the "
                "learning rate, or look at these clips"
            )

    def _report_progress(self, batches: int) -> None:
        now, spent = self.state, max(time.monotonic() - self._began, 1e-9)
        speed = (now.audio_seconds - self._before) / spent
        losses = self._mean_losses(now.sums, now.counts)
        if now.step % LOG_EVERY == 0:
            rate = self.optimisers[0].param_groups[0]["lr"]
            self._write(
                {"step": now.step, "epoch": now.epoch + 1, "rate": rate, "speed": round(speed, 1)}
                | {"loss": losses}
            )
        to_come = batches * (self.schedule.epochs - now.epoch) - now.batch
        remaining = spent / (now.step - self._first) * to_come
        self.reporter.progress(
            TrainingProgress(
                now.step, now.epoch + 1, self.schedule.epochs, now.batch, batches, losses, speed,
                remaining,
            )
        )  # fmt: skip

    def _mean_losses(self, sums: Sequence[float], counts: Sequence[float]) -> dict[str, float]:
        """Each part's mean, and "loss", the whole; a part that counted nothing is left out."""
        found = {
            name: total / count
            for name, total, count in zip(self.objective.loss_names, sums, counts, strict=True)
            if count
        }
        weights = dict(zip(self.objective.loss_names, self.objective.loss_weights, strict=True))
        return found | {"loss": sum(weights[name] * mean for name, mean in found.items())}

    def _end_epoch(self, stop: list[int]) -> None:
        now = self.state
        self.model.eval()
        with torch.no_grad():
            sums, counts = self.objective.validate(self.model, lambda: bool(stop[0]))
        asked = sums.new_tensor([float(stop[0])])
        *values, stopping = self.group.sum(torch.cat([sums, counts, asked])).tolist()
        if stopping:
            raise self._stop_error("before its validation", stop)
        found = self._mean_losses(values[: len(sums)], values[len(sums) :])
        held_out = found if any(values[len(sums) :]) else {}
        now.epoch, now.batch = now.epoch + 1, 0
        now.seconds += time.monotonic() - self._counted
        self._counted = time.monotonic()
        training = self._mean_losses(now.sums, now.counts)
        entry = {"epoch": now.epoch, "training": training, "validation": held_out}
        now.history.append(entry)
        self._write({"step": now.step} | entry)
        # Without validation the last epoch is the one kept.
        value = held_out.get(self.objective.criterion, 0.0)
        if not math.isfinite(value):
            self.reporter.warning(
                f"the validation {self.objective.criterion} of epoch {now.epoch} is {value}"
            )
            value = math.inf
        if not held_out or now.best_value is None or value < now.best_value:
            now.best_value, now.epochs_since_best = value, 0
            self._save_model("best", (), {"epoch": now.epoch})
        else:
            now.epochs_since_best += 1
        self._save()

    def _save(self) -> None:
        now = self.state
        now.seconds += time.monotonic() - self._counted
        self._saved = self._counted = time.monotonic()
        self._save_model("checkpoint", self.optimisers, asdict(now))

    def _save_model(
        self, name: str, optimisers: Sequence[torch.optim.Optimizer], about: dict[str, Any]
    ) -> None:
        """Write a checkpoint; where it can't be, the run goes on with the last one."""
        if self.group.rank:
            return
        try:
            checkpoint.save(self.folder / name, self.model, optimisers, about, key=self.key)
        except OSError as error:
            text = f"no checkpoint written ({error}); the last one stands: make room"
            self._write({"step": self.state.step, "warning": text})
            self.reporter.warning(text)

    def _write(self, line: dict[str, Any]) -> None:
        if self.group.rank:
            return
        # A log that can't be written (a full disk) is no reason to stop.
        with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_round_floats(line)) + "\n")

    def _trim_log(self) -> None:
        """Take back the lines of batches that are about to be done again."""
        if self.group.rank or not self.log.exists():
            return
        kept = []
        for line in self.log.read_text("utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # the last may be cut off
                found = json.loads(line)
                again = "validation" in found and found["epoch"] > self.state.epoch
                if found["step"] <= self.state.step and not again:
                    kept.append(line + "\n")
        write_atomically(self.log, "".join(kept))


def sum_over_batches(
    losses: Callable[[Data], tuple[Tensor, Tensor]],
    batches: Iterable[Data],
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    *,
    count: int,
) -> tuple[Tensor, Tensor]:
    """Losses and counts (parts,) of all batches together, in double precision."""
    totals = torch.zeros(2, count, dtype=torch.float64)
    for data in batches:
        if stop():
            break
        totals += torch.stack(losses(data)).double().cpu()
    totals = totals.to(device)
    return totals[0], totals[1]


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gpus(group: ProcessGroup) -> list[int]:
    return [group.device.index or 0] if group.device.type == "cuda" else []


def _batch_seed(*parts: int) -> int:
    """A number that depends on all parts: neighbouring batches share no random numbers."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _round_floats(line: Any) -> Any:
    """Six digits are enough to read."""
    if isinstance(line, dict):
        return {name: _round_floats(value) for name, value in line.items()}
    return float(f"{line:.6g}") if isinstance(line, float) else line
