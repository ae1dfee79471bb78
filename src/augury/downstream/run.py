"""One run: a task trained on one encoder with one seed and scored, in a folder of its own."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augury import audio
from augury.downstream import features
from augury.downstream import result as results
from augury.downstream.encoders import EncoderSpec
from augury.downstream.features import Batch, Encoded, Mel, Source
from augury.downstream.prepare import Fold, TaskData
from augury.downstream.result import Outcome
from augury.downstream.settings import EvaluateSettings
from augury.downstream.splits import TRAIN, VALIDATION
from augury.downstream.tasks.task import DownstreamModel
from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.learning import checkpoint
from augury.learning.batches import read_ahead
from augury.learning.processes import STATE_FOLDER, ProcessGroup
from augury.learning.training import Schedule, TrainingLoop, TrainingState, sum_over_batches
from augury.pretraining.encoder import Encoder
from augury.reporter import Reporter
from augury.store import key, write_atomically

#: Least seconds of audio in a batch for validation or testing. Small batches have no advantage
#: there, and a beam search takes one step for each frame, however many utterances a batch has.
EVALUATION_SECONDS = 80.0


@dataclass(frozen=True)
class TaskRun:
    """A task trained and scored on one encoder with one seed."""

    data: TaskData
    encoder: EncoderSpec
    seed: int
    out: Path  # the evaluation's folder
    cache: Path  # folder of the features of frozen encoders
    group: ProcessGroup
    minutes: float  # between checkpoints
    reporter: Reporter | None

    @property
    def folder(self) -> Path:
        """The folder of the run's files."""
        return self.out / "runs" / f"{self.encoder.name}-{self.encoder.mode}" / f"seed{self.seed}"

    @property
    def key(self) -> str:
        """A key that depends on settings, data, encoder and seed, and identifies the run."""
        data, encoder = self.data, self.encoder
        settings = {**data.settings.to_dict(), "mode": encoder.mode}
        digests = [data.about[name] for name in ("segments", "audio")]
        identity = (encoder.name, encoder.digest, self.seed)
        return key(results.FORMAT, data.name, settings, digests, *identity)

    def outcome(self) -> Outcome:
        """The run's outcome: read if the run is finished, else after training and scoring."""
        outcome = self._read()
        if outcome:
            return outcome
        models = [self._train(fold, k) for k, fold in enumerate(self.data.folds)]
        if not self.group.rank:
            self._write(models)
        self.group.wait()
        outcome = self._read()
        assert outcome
        return outcome

    def _read(self) -> Outcome | None:
        """The outcome in the run's folder; None if the run is not finished."""
        path = self.folder / "result.json"
        try:
            with explain_os_errors(path):
                run_key, plain = json.loads(path.read_text("utf-8"))
        except MissingFile:
            return None
        except UnusableFile:
            raise
        except ValueError as error:
            raise InputError(f"{path}: damaged; delete it to repeat the run") from error
        if run_key != self.key:
            raise InputError(
                f"{path}: of another run (perhaps the encoder {self.encoder.name} has changed "
                "since); delete its folder, or choose another --out"
            )
        return Outcome.from_json(plain)

    def _train(self, fold: Fold, k: int) -> _FoldModel:
        """Train on one fold; the model gets the weights of its best epoch."""
        source, model = self._make_model(fold)
        settings = self.data.settings
        objective = _FoldObjective(fold, source, settings, self.seed, self.group)
        schedule = Schedule(
            settings.epochs, settings.learning_rate, settings.schedule, settings.clip,
            settings.patience, settings.max_skipped, self.seed, self.minutes,
        )  # fmt: skip
        state = self.folder / STATE_FOLDER / str(k)
        with explain_os_errors(state):
            state.mkdir(parents=True, exist_ok=True)
        name = "log.jsonl" if len(self.data.folds) == 1 else f"log-{k}.jsonl"
        run = TrainingLoop(
            objective, model, _optimisers(model, settings), schedule, state, self.folder / name,
            self.key, self.group, self.reporter or Reporter(),
        )  # fmt: skip
        trained = run.train()
        self.group.wait()  # until the weights of the best epoch are written
        best = checkpoint.load(state / "best", model, key=self.key)
        return _FoldModel(
            model.eval(), objective, trained, best["epoch"] if best else trained.epoch
        )

    def _make_model(self, fold: Fold) -> tuple[Source, DownstreamModel]:
        """The source of features, and the untrained model."""
        spec, settings = self.encoder, self.data.settings
        clips, training = fold.stretches.clips, fold.stretches.of(TRAIN)
        source: Source = Mel(clips)
        trainable: Encoder | None = None
        (mean, std), width = fold.mel_statistics, source.width
        if spec.load is not None:
            encoder, name = spec.load(self.seed, mean, std)
            cached = spec.mode == "frozen" and settings.cache
            encoded = Encoded(
                clips, encoder.to(self.group.device), name, self.cache if cached else None
            )
            if cached:
                encoded.fill(self.group, self.reporter)
                self.group.wait()
                source = encoded
            else:
                trainable = encoder
            mean, std = features.mean_and_std(encoded, training)
            width = encoded.width
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            head = fold.task.head(width)
        frozen = spec.mode == "frozen"
        model = DownstreamModel(head, mean, std, trainable, frozen=frozen, centred=settings.centred)
        return source, model.to(self.group.device)

    def _write(self, models: Sequence[_FoldModel]) -> None:
        """Score the folds' models, write weights and outcome, and delete the training state."""
        outcome = self._score(models)
        for k, fold in enumerate(models):
            name = "model.safetensors" if len(models) == 1 else f"model-{k}.safetensors"
            state = fold.model.state_dict()
            weights = {name: value.cpu().numpy() for name, value in state.items()}
            write_atomically(self.folder / name, safetensors.numpy.save(weights))
        plain = json.dumps([self.key, asdict(outcome)])
        write_atomically(self.folder / "result.json", plain + "\n")  # last: the run is complete
        shutil.rmtree(self.folder / STATE_FOLDER)

    def _score(self, models: Sequence[_FoldModel]) -> Outcome:
        """The task's score of the folds together, with how training went."""
        start, frames = time.monotonic(), 0

        def predict(split: str) -> tuple[NDArray[np.int64], list[Any]]:
            nonlocal frames
            places: list[int] = []
            values: list[Any] = []
            for fold in models:
                for batch, predicted in fold.predict(split, self.group.device):
                    places += batch.segments.tolist()
                    values += predicted
                    frames += int(batch.lengths.sum())
            order = np.argsort(places, kind="stable")
            return np.array(places)[order], [values[k] for k in order]

        outcome = self.data.folds[0].task.score(predict, self.seed)
        scoring = time.monotonic() - start
        training = sum(fold.state.seconds for fold in models)
        trained_on = sum(fold.state.audio_seconds for fold in models)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        first = models[0]
        about = {
            **outcome.about,
            "best_epoch": first.epoch,
            "epochs": first.state.epoch,
            "seconds": round(training, 1),
            "real_time": round(trained_on / max(training, 1e-9), 1),
            "scoring_seconds": round(scoring, 1),
            "scoring_real_time": round(frames * audio.HOP / max(scoring, 1e-9), 1),
            "memory_gb": round(peak, 2),  # of the process so far
            "parameters": sum(p.numel() for p in first.model.parameters() if p.requires_grad),
            "skipped": [batch for fold in models for batch in fold.state.skipped],
        }
        return replace(outcome, history=tuple(first.state.history), about=about)


@dataclass(frozen=True)
class _FoldModel:
    """The model of one fold after training, with the weights of its best epoch."""

    model: DownstreamModel
    objective: _FoldObjective
    state: TrainingState
    epoch: int  # the best

    def predict(self, split: str, device: torch.device) -> Iterator[tuple[Batch, list[Any]]]:
        """The batches of a split, and a prediction for each of their segments."""
        for batch in read_ahead(self.objective.read, self.objective.plans(split)):
            with torch.inference_mode():
                moved = batch.to(device)
                predicted = list(self.model.head.predict(self.model.features(moved), moved))
            yield batch, predicted


class _FoldObjective:
    """What is minimised on one fold, as `augury.learning.objective.Objective` describes it."""

    def __init__(
        self, fold: Fold, source: Source, settings: EvaluateSettings, seed: int, group: ProcessGroup
    ) -> None:
        self.task, self.stretches, self.source = fold.task, fold.stretches, source
        self.seed, self.group = seed, group
        self.loss_names, self.loss_weights = (
            list(fold.task.loss_names),
            list(fold.task.loss_weights),
        )
        self.criterion = fold.task.criterion
        self.most = round(settings.batch_seconds / audio.HOP)

    def epoch_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = np.random.default_rng((self.seed, epoch))
        return features.plan_batches(
            self.stretches, self.stretches.of(TRAIN), self.most,
            rng=rng, crop=round(self.task.crop / audio.HOP), least=self.group.size,
        )  # fmt: skip

    def plans(self, split: str) -> list[NDArray[np.int64]]:
        """The batches of a split: whole stretches, always in the same order."""
        most = max(self.most, round(EVALUATION_SECONDS / audio.HOP))
        return features.plan_batches(self.stretches, self.stretches.of(split), most)

    def read(self, indices: NDArray[np.int64]) -> Batch:
        return features.read_batch(self.source, self.stretches, self.task.targets, indices)

    def losses(self, model: nn.Module, data: Batch) -> tuple[Tensor, Tensor]:
        device = self.group.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return model(data.to(device))

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        read = read_ahead(self.read, self.plans(VALIDATION)[self.group.rank :: self.group.size])
        losses = partial(self.losses, model)
        return sum_over_batches(losses, read, self.group.device, stop, count=len(self.loss_names))

    def seconds(self, indices: NDArray[np.int64]) -> float:
        return float(indices[:, 2].sum() * audio.HOP)

    def describe(self, indices: NDArray[np.int64]) -> str:
        return self.stretches.clips.describe(indices[:, 0])


def _optimisers(model: DownstreamModel, settings: EvaluateSettings) -> list[torch.optim.Optimizer]:
    """Adam for the head; SGD for an encoder that is finetuned."""
    rate = settings.learning_rate
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(model.head.parameters(), rate)]
    if model.encoder and not model.frozen:
        encoder = {
            "params": list(model.encoder.parameters()),
            "share": settings.encoder_rate / rate,
        }
        optimisers.append(torch.optim.SGD([encoder], settings.encoder_rate, settings.momentum))
    return optimisers
