"""Pretraining: an encoder learns to predict pseudo-labels of unlabelled speech (the second step).

`pretrain` prepares the corpus, trains, and writes a folder: model.safetensors, config.toml, a model
card, log.jsonl, report.html. Called again with the same settings it goes on where it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import nn

from augury import audio, pseudolabels
from augury.corpus.corpus import Corpus, TooManyBad
from augury.corpus.manifest import write_quarantine
from augury.errors import InputError, MissingPackage
from augury.extraction.plan import Plan
from augury.learning import checkpoint
from augury.learning.processes import STATE_FOLDER, ProcessGroup, lock_folder, process_group
from augury.learning.training import Schedule, TrainingLoop, TrainingState
from augury.pretraining import config
from augury.pretraining.choice import Choice, choose
from augury.pretraining.clips import Clips
from augury.pretraining.objective import ClipObjective
from augury.pretraining.prepare import prepare
from augury.pretraining.report import card, render
from augury.pretraining.result import Pretrained
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.workers import PretrainingModel
from augury.provenance import versions
from augury.reporter import Progress, Reporter, TrainingProgress
from augury.store import default_store, pack, unpack, write_atomically


class AnotherRun(InputError):
    """A folder holds what was trained otherwise."""


def pretrain(
    corpus: Corpus,
    pseudo_labels: Choice | Mapping[str, float] | Sequence[str],
    *,
    out: Path | str,
    preset: str | Path = "small",
    store: Path | str | None = None,
    jobs: int | None = None,
    device: str | None = None,
    minutes: float = 10.0,
    tensorboard: bool = False,
    prepare_only: bool = False,
    reporter: Reporter | None = None,
    **choices: Any,
) -> Pretrained | None:
    """Pretrain an encoder on unlabelled speech to predict pseudo-labels; go on where a run was.

    Args:
        corpus: from `read_corpus`; each segment is a clip, labels are not looked at.
        pseudo_labels: names, or names with the weights of their workers; or `from_ranking`'s
            choice. None at all: reconstruction alone.
        out: folder of the encoder. Where it holds a run of the same settings, that one goes on.
        preset: "paper", "small", or a TOML file.
        store: folder in which extracted values are kept; the one that `rank` uses.
        jobs: processes that extract; enough to keep all cores busy if not given.
        device: of torch; a GPU where there is one, if not given.
        minutes: between checkpoints, which are also written at each epoch's end.
        tensorboard: whether to write for TensorBoard too, into the folder's `tensorboard`.
        prepare_only: extract and index, so that a GPU need not wait for it; returns None.
        reporter: told of recordings that are extracted, of every batch, and of what goes wrong.
        choices: fields of `PretrainSettings`, in place of the preset's.

    Raises:
        InputError: a pseudo-label, choice or column that does not exist; a folder with another run
            in it (`AnotherRun`), or a damaged checkpoint.
        TooManyBad: a larger share than `max_bad` of the clips can't be used.
        Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
        TooManyNotFinite: too many batches had a loss or gradient that is not finite.
    """
    choice = choose(pseudo_labels)
    settings = PretrainSettings.of(preset, choice.weights, **choices)
    candidates = pseudolabels.parse_candidates(list(choice.weights)) if choice.weights else []
    store = Path(store or default_store()).absolute()
    plan = Plan.of(candidates, store, unvoiced=settings.unvoiced, mel=True)
    folder = Path(out)
    with process_group(device) as group, lock_folder(folder, group):
        listener = _Listener(reporter, folder if tensorboard and not group.rank else None)
        if group.rank == 0:
            _prepare_folder(folder, corpus, choice, settings, candidates, plan, jobs, reporter)
        group.wait()  # the others read what the first has written
        known = config.read_config(folder)
        assert known
        if prepare_only:
            return None
        if not known.result:
            clips = _read_clips(folder, plan)
            _train(folder, known, clips, group, listener, minutes)
            group.wait()
        return Pretrained.read(folder)


# ------------------------------------------------------------------------------------ preparing


def _prepare_folder(
    folder: Path,
    corpus: Corpus,
    choice: Choice,
    settings: PretrainSettings,
    candidates: list[pseudolabels.Candidate],
    plan: Plan,
    jobs: int | None,
    reporter: Reporter | None,
) -> None:
    """See that the folder holds the configuration and the index of clips, of this very run."""
    columns = [one.item for one in candidates if one.kind == "column"]
    splits = ["split"] if "split" in corpus.columns else []
    asked = {
        "segments": corpus.digest(*columns, *splits),
        "functions": {one.name: version for one, version in plan.functions},
    }
    known = config.read_config(folder)
    if known:
        data = {name: known.data.get(name) for name in asked}
        unlike = config.differences(settings.to_dict(), known.settings.to_dict())
        unlike += config.differences(asked, data, "data.")
        unlike += config.differences(choice.ranking, known.ranking, "ranking.")
        if unlike:
            raise AnotherRun(
                f"{folder} holds another run: {'; '.join(unlike[:5])} there. Give those again to "
                "go on with it, or choose another --out"
            )
        if known.result or _kept_clips(folder) is not None:
            return
    try:
        found = prepare(
            corpus,
            plan,
            settings,
            jobs=jobs,
            reporter=reporter,
        )
    except TooManyBad as error:
        write_quarantine(error.rejected, folder / "quarantine.csv")
        raise
    write_quarantine(found.rejected, folder / "quarantine.csv")
    write_atomically(folder / STATE_FOLDER / "clips", pack(found.clips.to_arrays()))
    held_out = found.clips.held_out
    data = asked | {
        # A file's name need not be UTF-8, TOML must be.
        "manifest": str(corpus.source).encode(errors="backslashreplace").decode(),
        "clips": int((~held_out).sum()),
        "hours": round(float(found.clips.frames[~held_out].sum() * audio.HOP / 3600), 4),
        "validation_clips": int(held_out.sum()),
        "validation_hours": round(float(found.clips.frames[held_out].sum() * audio.HOP / 3600), 4),
        "left_out": dict(Counter(one.reason for one in found.rejected)),
    }
    made_with = versions("torch", *pseudolabels.packages(candidates))
    config.Config(settings, found.targets, data, choice.ranking, made_with).write(folder)


def _kept_clips(folder: Path) -> dict[str, NDArray] | None:
    try:
        return unpack((folder / STATE_FOLDER / "clips").read_bytes())
    except FileNotFoundError:
        return None


def _read_clips(folder: Path, plan: Plan) -> Clips:
    kept = _kept_clips(folder)
    if kept is None:
        raise RuntimeError(
            f"{folder / STATE_FOLDER / 'clips'}: written just now, but can't be read"
        )
    return Clips.from_arrays(kept, plan)


# ------------------------------------------------------------------------------------- training


def _train(
    folder: Path,
    known: config.Config,
    clips: Clips,
    group: ProcessGroup,
    listener: _Listener,
    minutes: float,
) -> None:
    """Train to the end, from the last checkpoint if there is one, and write the results."""
    settings = known.settings
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        model = PretrainingModel(settings, known.targets)
    model = model.to(group.device)
    objective = ClipObjective(clips, settings, model, group)
    loop = TrainingLoop(
        objective, model, [_optimiser(model, settings)], _schedule(settings, minutes),
        folder / STATE_FOLDER, folder / "log.jsonl", known.key(), group, listener,
    )  # fmt: skip
    try:
        state = loop.train()
    finally:
        listener.close()
    if group.rank == 0:
        _write_results(folder, known, model, objective, state)


def _optimiser(model: nn.Module, settings: PretrainSettings) -> torch.optim.Optimizer:
    rate, epsilon = settings.learning_rate, settings.epsilon
    if settings.optimiser == "adadelta":
        return torch.optim.Adadelta(model.parameters(), rate, rho=settings.rho, eps=epsilon)
    return torch.optim.Adam(model.parameters(), rate, eps=epsilon)


def _schedule(settings: PretrainSettings, minutes: float) -> Schedule:
    return Schedule(
        settings.epochs, settings.learning_rate, settings.schedule, settings.clip,
        settings.patience, settings.max_skipped, settings.seed, minutes,
    )  # fmt: skip


class _Listener(Reporter):
    """The caller's reporter, and TensorBoard if asked for."""

    def __init__(self, reporter: Reporter | None, folder: Path | None) -> None:
        self.reporter, self.board = reporter or Reporter(), None
        if folder:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingPackage(
                    "TensorBoard is not installed; pip install tensorboard, or leave it out"
                ) from error
            self.board = SummaryWriter(str(folder / "tensorboard"))

    def progress(self, event: Progress) -> None:
        self.reporter.progress(event)
        if self.board and isinstance(event, TrainingProgress):
            for name, value in event.losses.items():
                with suppress(OSError):  # a full disk is no reason to stop
                    self.board.add_scalar(f"training/{name}", value, event.step)

    def message(self, text: str) -> None:
        self.reporter.message(text)

    def warning(self, text: str) -> None:
        self.reporter.warning(text)

    def close(self) -> None:
        if self.board:
            self.board.close()


# -------------------------------------------------------------------------------- what comes out


def _write_results(
    folder: Path,
    known: config.Config,
    model: PretrainingModel,
    objective: ClipObjective,
    state: TrainingState,
) -> None:
    """Write the weights of the best epoch, the finished configuration, model card and report."""
    best = checkpoint.load(folder / STATE_FOLDER / "best", model, key=known.key())
    # Where it could not be written (a full disk), the model keeps the weights of the last epoch.
    kept = best["epoch"] if best else state.epoch
    entry = state.history[kept - 1]
    weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    write_atomically(folder / "model.safetensors", safetensors.numpy.save(weights))
    result = {
        "epochs": state.epoch,
        "best_epoch": kept,
        "batches": state.step,
        "skipped": state.skipped,
        "training": entry["training"],
        "validation": entry["validation"],
        "seconds": round(state.seconds, 1),
        "audio_seconds": round(state.audio_seconds, 1),
        "parameters": sum(p.numel() for p in model.encoder.parameters()),
    }
    if objective.clips.held_out.any():
        result["mean_guess"] = objective.constant_guess_losses()
        result["constant_guess"] = objective.constant_guess_losses(objective.medians())
    known = replace(known, result=result)
    history = json.dumps(state.history)
    write_atomically(folder / "history.json", history + "\n")
    write_atomically(folder / "report.html", render(known, state.history))
    write_atomically(folder / "README.md", card(known))
    known.write(folder)  # last: a configuration with a result marks a finished run
    checkpoint.remove(folder / STATE_FOLDER / "checkpoint")
    checkpoint.remove(folder / STATE_FOLDER / "best")
    (folder / STATE_FOLDER / "clips").unlink(missing_ok=True)
