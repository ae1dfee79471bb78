"""The training loop; it survives being killed, preempted, a full disk, and batches not finite.

Training is deterministic: seed and epoch set the order of the batches, and torch's random numbers
are seeded anew for each batch. So a run that is resumed from a checkpoint ends with the weights of
an uninterrupted one; on a CPU, to the last bit. It is resumed with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from augury.errors import InputError, explain_os_errors
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
    """The run was stopped by a signal, `signal`, after a checkpoint."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.signal = received

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        """Pickled with its signal."""
        return Stopped, (str(self), self.signal)


@dataclass(frozen=True)
class Schedule:
    """How a model is optimised, and for how long."""

    epochs: int
    learning_rate: float
    shape: str  # "constant", "linear" or "cosine"
    clip: float  # largest norm of the gradient
    patience: int  # epochs without improvement; 0: any number
    max_skipped: int  # batches
    seed: int
    checkpoint_minutes: float = 10.0  # between checkpoints

    def learning_rate_at(self, done: float) -> float:
        """The learning rate when a share of the run, from 0 to 1, is done.

        >>> Schedule(10, 0.2, "cosine", 1.0, 0, 0, 0).learning_rate_at(0.5)
        0.1
        """
        if self.shape == "constant":
            return self.learning_rate
        if self.shape == "linear":
            return self.learning_rate * (1 - 0.9 * done)
        rising = min(1.0, (done + 1e-3) / 0.05)
        return self.learning_rate * rising * (0.5 + 0.5 * math.cos(math.pi * done))


@dataclass
class TrainingState:
    """The progress of a run, as its checkpoints have it."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the current epoch
    step: int = 0  # batches done in all epochs
    best_value: float | None = None  # lowest value of the criterion
    epochs_since_best: int = 0
    skipped: list[str] = field(default_factory=list)  # batches not finite, described
    sums: list[float] = field(default_factory=list)  # of the current epoch's losses
    counts: list[float] = field(default_factory=list)  # of the values of each sum
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry an epoch
    processes: int = 1  # that share the batches of the current epoch
    threads: int = 0  # of each process: their number changes how sums are rounded
    seconds: float = 0.0  # spent on training
    audio_seconds: float = 0.0  # trained on


@dataclass
class TrainingLoop(Generic[Indices, Data]):
    """Trains a model in a folder.

    `key` names the run: a checkpoint with another key is refused.
    """

    objective: Objective[Indices, Data]
    model: nn.Module
    #: A parameter group's `share`, if it has one, is its learning rate over the schedule's.
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
        if not self.group.rank:  # temporary files of a run that was killed
            for file in self.folder.glob(".*"):
                file.unlink(missing_ok=True)
        about = checkpoint.load(path, self.model, *self.optimisers, key=self.key)
        if about:
            self.state = TrainingState(**about)
        if self.state.batch and self.state.processes != self.group.size:
            self.reporter.warning(
                f"{self.group.size} processes, but {self.state.processes} before: batches differ, "
                f"so epoch {self.state.epoch + 1} begins again"
            )
            self.state.batch = 0
        self.state.processes = self.group.size
        self._trim_log()

    def _out_of_patience(self) -> bool:
        return 0 < self.schedule.patience <= self.state.epochs_since_best

    def _train_epoch(self, stop: list[int]) -> None:
        state, task = self.state, self.objective
        batches = task.epoch_batches(state.epoch)
        if not state.batch:
            state.sums, state.counts = [0.0] * len(task.loss_names), [0.0] * len(task.loss_names)
        remaining = batches[state.batch :]
        self.model.train()
        shares = [self._own_share(indices) for indices in remaining]
        for indices, data in zip(remaining, read_ahead(task.read, shares), strict=True):
            done = (state.epoch + state.batch / len(batches)) / self.schedule.epochs
            stopping = self._train_batch(indices, data, self.schedule.learning_rate_at(done), stop)
            state.batch += 1
            state.step += 1
            self._report_progress(len(batches))
            if stopping:
                self._save()
                raise self._stop_error(f"after {state.batch} of {len(batches)} batches", stop)
            if time.monotonic() - self._saved > 60 * self.schedule.checkpoint_minutes:
                self._save()
        self._save()  # validation may take longer than a scheduler waits
        self._end_epoch(stop)

    def _stop_error(self, where: str, stop: list[int]) -> Stopped:
        message = f"stopped in epoch {self.state.epoch + 1} {where}"
        received = stop[0] or signal.SIGTERM
        return Stopped(f"{message}; the same command goes on from there", received)

    def _own_share(self, indices: Indices) -> Indices:
        """This process's share of a batch."""
        return indices[self.group.rank :: self.group.size]  # type: ignore[index]

    def _train_batch(self, indices: Indices, data: Data, rate: float, stop: list[int]) -> bool:
        """Train on one batch; returns whether any process has received a signal to stop."""
        state, group = self.state, self.group
        torch.manual_seed(_batch_seed(self.schedule.seed, state.step, group.rank))
        for optimiser in self.optimisers:
            for settings in optimiser.param_groups:
                settings["lr"] = rate * settings.get("share", 1.0)
            optimiser.zero_grad(set_to_none=True)
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        sums, counts = self.objective.losses(self._parallel_model, data)
        # All that the processes exchange, in one call.
        shared = torch.cat([counts, sums.detach(), counts.new_tensor([float(stop[0])])])
        shared = group.sum(shared)
        losses = len(counts)
        weights = counts.new_tensor(self.objective.loss_weights) / shared[:losses].clamp_min(1)
        # Gradients are averaged over processes, but the loss is a sum over them.
        (weights @ sums * group.size).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        if bool(torch.isfinite(norm) & torch.isfinite(shared[losses:-1]).all()):
            for optimiser in self.optimisers:
                optimiser.step()
            values = shared.tolist()
            for k in range(losses):
                state.counts[k] += values[k]
                state.sums[k] += values[losses + k]
        else:
            self._skip(indices, buffers)
        state.audio_seconds += self.objective.seconds(indices)
        return bool(shared[-1])

    def _skip(self, indices: Indices, buffers: list[Tensor]) -> None:
        state = self.state
        with torch.no_grad():  # the running statistics of a batch norm may not be finite now
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        description = self.objective.describe(indices)
        state.skipped.append(f"epoch {state.epoch + 1}, batch {state.batch + 1}: {description}")
        self._write({"step": state.step + 1, "skipped": description})
        self.reporter.warning(
            f"skipped a batch whose loss or gradient is not finite: {description}"
        )
        if len(state.skipped) > self.schedule.max_skipped:
            raise TooManyNotFinite(
                f"{len(state.skipped)} batches had a loss or gradient that is not finite, and "
                f"max_skipped is {self.schedule.max_skipped}; the last: {description}. Lower the "
                "learning rate, or look at these clips"
            )

    def _report_progress(self, batches: int) -> None:
        state, spent = self.state, max(time.monotonic() - self._began, 1e-9)
        speed = (state.audio_seconds - self._before) / spent
        losses = self._mean_losses(state.sums, state.counts)
        if state.step % LOG_EVERY == 0:
            rate = self.optimisers[0].param_groups[0]["lr"]
            self._write(
                {
                    "step": state.step,
                    "epoch": state.epoch + 1,
                    "rate": rate,
                    "speed": round(speed, 1),
                }
                | {"loss": losses}
            )
        to_come = batches * (self.schedule.epochs - state.epoch) - state.batch
        remaining = spent / (state.step - self._first) * to_come
        self.reporter.progress(
            TrainingProgress(
                state.step, state.epoch + 1, self.schedule.epochs, state.batch, batches, losses,
                speed, remaining,
            )
        )  # fmt: skip

    def _mean_losses(self, sums: Sequence[float], counts: Sequence[float]) -> dict[str, float]:
        """The mean of each loss, and "loss", the total; without losses that have no values."""
        means = {
            name: total / count
            for name, total, count in zip(self.objective.loss_names, sums, counts, strict=True)
            if count
        }
        weights = dict(zip(self.objective.loss_names, self.objective.loss_weights, strict=True))
        return means | {"loss": sum(weights[name] * mean for name, mean in means.items())}

    def _end_epoch(self, stop: list[int]) -> None:
        state = self.state
        self.model.eval()
        with torch.no_grad():
            sums, counts = self.objective.validate(self.model, lambda: bool(stop[0]))
        stopped = sums.new_tensor([float(stop[0])])
        *values, stopping = self.group.sum(torch.cat([sums, counts, stopped])).tolist()
        if stopping:
            raise self._stop_error("before its validation", stop)
        means = self._mean_losses(values[: len(sums)], values[len(sums) :])
        held_out = means if any(values[len(sums) :]) else {}
        state.epoch, state.batch = state.epoch + 1, 0
        state.seconds += time.monotonic() - self._counted
        self._counted = time.monotonic()
        training = self._mean_losses(state.sums, state.counts)
        entry = {"epoch": state.epoch, "training": training, "validation": held_out}
        state.history.append(entry)
        self._write({"step": state.step} | entry)
        # Without validation the last epoch is kept.
        value = held_out.get(self.objective.criterion, 0.0)
        if not math.isfinite(value):
            self.reporter.warning(
                f"the validation {self.objective.criterion} of epoch {state.epoch} is {value}"
            )
            value = math.inf
        if not held_out or state.best_value is None or value < state.best_value:
            state.best_value, state.epochs_since_best = value, 0
            self._save_model("best", (), {"epoch": state.epoch})
        else:
            state.epochs_since_best += 1
        self._save()

    def _save(self) -> None:
        state = self.state
        state.seconds += time.monotonic() - self._counted
        self._saved = self._counted = time.monotonic()
        self._save_model("checkpoint", self.optimisers, asdict(state))

    def _save_model(
        self, name: str, optimisers: Sequence[torch.optim.Optimizer], about: dict[str, Any]
    ) -> None:
        """Write a checkpoint; if that fails, warn and go on."""
        if self.group.rank:
            return
        try:
            checkpoint.save(self.folder / name, self.model, optimisers, about, key=self.key)
        except OSError as error:
            text = f"no checkpoint was written ({error}); make room: the last one is kept"
            self._write({"step": self.state.step, "warning": text})
            self.reporter.warning(text)

    def _write(self, line: dict[str, Any]) -> None:
        if self.group.rank:
            return
        # A log that can't be written (a full disk) should not stop the training.
        with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_round_floats(line)) + "\n")

    def _trim_log(self) -> None:
        """Remove the log's lines of batches that are going to be repeated."""
        if self.group.rank or not self.log.exists():
            return
        kept = []
        with explain_os_errors(self.log):
            lines = self.log.read_text("utf-8").splitlines()
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # the last line may be incomplete
                entry = json.loads(line)
                again = "validation" in entry and entry["epoch"] > self.state.epoch
                if entry["step"] <= self.state.step and not again:
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
    """Losses and counts (losses,), summed over batches in double precision until `stop`."""
    totals = torch.zeros(2, count, dtype=torch.float64)
    for data in batches:
        if stop():
            break
        totals += torch.stack(losses(data)).double().cpu()
    totals = totals.to(device)
    return totals[0], totals[1]


@contextmanager
def with_threads(count: int) -> Generator[None]:
    """In the block, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gpus(group: ProcessGroup) -> list[int]:
    return [group.device.index or 0] if group.device.type == "cuda" else []


def _batch_seed(*parts: int) -> int:
    """A seed from several numbers: neighbouring batches have unrelated random numbers."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _round_floats(line: Any) -> Any:
    """The line with its floats rounded to six digits."""
    if isinstance(line, dict):
        return {name: _round_floats(value) for name, value in line.items()}
    return float(f"{line:.6g}") if isinstance(line, float) else line
