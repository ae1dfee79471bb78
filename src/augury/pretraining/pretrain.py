"""Pretraining: an encoder learns to predict pseudo-labels of unlabelled speech (the second step).

`pretrain` prepares the corpus, trains, and writes a folder: model.safetensors, config.toml, a model
card, log.jsonl, report.html. Called again with the same settings, it resumes an interrupted run.
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
from augury.errors import InputError, MissingFile, MissingPackage, explain_os_errors
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
    """A folder holds a run with other settings or data."""


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
    """Pretrain an encoder on unlabelled speech to predict pseudo-labels, or resume such a run.

    Args:
        corpus: from `read_corpus`; each segment is a clip, labels are not used.
        pseudo_labels: names, weights by name, or a choice `from_ranking`; none: reconstruction.
        out: folder of the encoder. An unfinished run of the same settings in it is resumed.
        preset: "paper", "small", or a TOML file.
        store: folder of extracted values; by default the one that `rank` uses.
        jobs: processes that extract; enough to keep all cores busy if not given.
        device: "cpu" or "cuda"; a GPU if there is one, if not given.
        minutes: between checkpoints; there is also one at the end of each epoch.
        tensorboard: whether to write event files, too, into the folder's `tensorboard`.
        prepare_only: extract and index, so that a GPU need not wait for it; returns None.
        reporter: receives progress of extraction and training, messages and warnings.
        choices: fields of `PretrainSettings`, in place of the preset's.

    Raises:
        InputError: a pseudo-label, choice or column that does not exist; a folder with another run
            in it (`AnotherRun`), or a damaged checkpoint.
        TooManyBad: a larger share than `max_bad` of the clips can't be used.
        Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
        TooManyNotFinite: too many batches had a loss or gradient that is not finite.

    >>> import augury
    >>> speech = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> few = speech.select(speech.recording < 8)
    >>> augury.pretrain(few, ["own:rms"], out="encoder", jobs=1, epochs=1).result["validation"]
    {'mel': ..., 'mfcc': ..., 'own:rms': ..., 'loss': ...}
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
        group.wait()  # the other processes read what the first has written
        if prepare_only:
            return None
        _train(folder, plan, group, listener, minutes)
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
    """Write configuration and index of clips, unless the folder holds those of this run already."""
    pseudolabels.require_no_files(candidates)
    columns = [candidate.item for candidate in candidates if candidate.provider == "column"]
    splits = ["split"] if "split" in corpus.columns else []
    wanted = {
        "segments": corpus.digest(*columns, *splits),
        "functions": {candidate.name: version for candidate, version in plan.functions},
    }
    earlier = config.read_config(folder)
    if earlier:
        data = {name: earlier.data.get(name) for name in wanted}
        differing = config.differences(settings.to_dict(), earlier.settings.to_dict())
        differing += config.differences(wanted, data, "data.")
        differing += config.differences(choice.ranking, earlier.ranking, "ranking.")
        if differing:
            raise AnotherRun(
                f"{folder} holds another run: {'; '.join(differing[:5])} there. Give those again "
                "to go on with it, or choose another --out"
            )
        if earlier.result or _read_index(folder) is not None:
            return
    try:
        prepared = prepare(corpus, plan, settings, jobs=jobs, reporter=reporter)
    except TooManyBad as error:
        write_quarantine(error.rejected, folder / "quarantine.csv")
        raise
    write_quarantine(prepared.rejected, folder / "quarantine.csv")
    write_atomically(folder / STATE_FOLDER / "clips", pack(prepared.clips.to_arrays()))
    held_out = prepared.clips.held_out
    data = wanted | {
        # A file's name need not be UTF-8, but TOML must be.
        "manifest": str(corpus.source).encode(errors="backslashreplace").decode(),
        "clips": int((~held_out).sum()),
        "hours": round(float(prepared.clips.frames[~held_out].sum() * audio.HOP / 3600), 4),
        "validation_clips": int(held_out.sum()),
        "validation_hours": round(
            float(prepared.clips.frames[held_out].sum() * audio.HOP / 3600), 4
        ),
        "left_out": dict(Counter(rejected.reason for rejected in prepared.rejected)),
    }
    packages = versions("torch", *pseudolabels.packages(candidates))
    config.Config(settings, prepared.targets, data, choice.ranking, packages).write(folder)


def _read_index(folder: Path) -> dict[str, NDArray] | None:
    """The index of clips as arrays; None if there is none, or a damaged one."""
    path = folder / STATE_FOLDER / "clips"
    try:
        with explain_os_errors(path):
            return unpack(path.read_bytes())
    except MissingFile:
        return None


def _read_clips(folder: Path, plan: Plan) -> Clips:
    arrays = _read_index(folder)
    if arrays is None:
        raise RuntimeError(
            f"{folder / STATE_FOLDER / 'clips'}: written just now, but can't be read"
        )
    return Clips.from_arrays(arrays, plan)


# ------------------------------------------------------------------------------------- training


def _train(
    folder: Path, plan: Plan, group: ProcessGroup, listener: _Listener, minutes: float
) -> None:
    """Train to the end, from the last checkpoint if there is one, and write the results."""
    run = config.read_config(folder)
    assert run
    if run.result:  # of an earlier call
        return
    clips, settings = _read_clips(folder, plan), run.settings
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        model = PretrainingModel(settings, run.targets)
    model = model.to(group.device)
    objective = ClipObjective(clips, settings, model, group)
    loop = TrainingLoop(
        objective, model, [_optimiser(model, settings)], _schedule(settings, minutes),
        folder / STATE_FOLDER, folder / "log.jsonl", run.key(), group, listener,
    )  # fmt: skip
    try:
        state = loop.train()
    finally:
        listener.close()
    if group.rank == 0:
        _write_results(folder, run, model, objective, state)


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
            with explain_os_errors(folder / "tensorboard"):
                self.board = SummaryWriter(str(folder / "tensorboard"))

    def progress(self, event: Progress) -> None:
        self.reporter.progress(event)
        if self.board and isinstance(event, TrainingProgress):
            for name, value in event.losses.items():
                with suppress(OSError):  # a full disk should not stop the training
                    self.board.add_scalar(f"training/{name}", value, event.step)

    def message(self, text: str) -> None:
        self.reporter.message(text)

    def warning(self, text: str) -> None:
        self.reporter.warning(text)

    def close(self) -> None:
        if self.board:
            self.board.close()


# -------------------------------------------------------------------------------------- results


def _write_results(
    folder: Path,
    run: config.Config,
    model: PretrainingModel,
    objective: ClipObjective,
    state: TrainingState,
) -> None:
    """Write the weights of the best epoch, the finished configuration, model card and report."""
    best = checkpoint.load(folder / STATE_FOLDER / "best", model, key=run.key())
    # If it could not be written (a full disk), the model keeps the weights of the last epoch.
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
    run = replace(run, result=result)
    history = json.dumps(state.history)
    write_atomically(folder / "history.json", history + "\n")
    write_atomically(folder / "report.html", render(run, state.history))
    write_atomically(folder / "README.md", card(run))
    run.write(folder)  # last: a configuration with a result marks a finished run
    checkpoint.remove(folder / STATE_FOLDER / "checkpoint")
    checkpoint.remove(folder / STATE_FOLDER / "best")
    (folder / STATE_FOLDER / "clips").unlink(missing_ok=True)
