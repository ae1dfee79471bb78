"""Downstream evaluation (the paper's third step): train a task on encoders, and score it.

The results folder fills as the evaluation runs: results.json, results.csv, report.html, and runs/
with the trained weights. Called again, finished runs are read, and one that was stopped resumes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from augury.corpus.corpus import Corpus
from augury.downstream.encoders import EncoderSpec, find_encoders
from augury.downstream.prepare import TaskData, prepare_task
from augury.downstream.report import write_report
from augury.downstream.result import Evaluation, Model, Outcome
from augury.downstream.run import TaskRun
from augury.downstream.settings import EvaluateSettings
from augury.downstream.tasks.task import find_task
from augury.errors import InputError
from augury.learning.processes import ProcessGroup, lock_folder, process_group
from augury.pretraining import config
from augury.provenance import versions
from augury.reporter import Reporter
from augury.store import default_store, write_atomically


class AnotherEvaluation(InputError):
    """The folder of the results holds an evaluation of another task, settings or corpus."""


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
    """Train and score a downstream task on encoders; resume an evaluation that was stopped.

    Args:
        task: "asr", "speaker", "classify", or your own as "module:Class" (see
            `augury.downstream.tasks.task.Task`).
        corpus: from `read_corpus`.
        encoders: folders that `pretrain` wrote; "mel" for log-mel features alone, "random" for an
            encoder that was never trained.
        out: folder of the results. Where it holds an evaluation of the same task and settings,
            these encoders are added to it.
        preset: "paper", "small", or a TOML file of the task's settings.
        seeds: runs of each encoder: with seeds 0, 1, …, seeds − 1.
        store: folder of extracted values; the one that `rank` uses.
        features: folder of cached features of encoders, 0.18 GB an hour of speech and encoder;
            the store, if not given.
        jobs: processes that extract.
        device: of torch; a GPU where there is one, if not given.
        minutes: between checkpoints.
        reporter: gets the progress of extraction, encoding and training, a message when a run
            begins, and warnings of problems that do not stop a run.
        choices: fields of the task's settings (`label` among them), in place of the preset's.

    Raises:
        InputError: no such task, setting, column, split or encoder; a speaker in train and test
            both.
        AnotherEvaluation: `out` holds an evaluation of another task, settings or corpus.
        TooManyBad: a larger share than `max_bad` of the segments can't be used.
        Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.
    """
    kind = find_task(task)
    if seeds < 1:
        raise InputError(f"seeds is {seeds}, but it takes at least one")
    settings: EvaluateSettings = kind.Settings.of(preset, task, **choices)
    specs = find_encoders(encoders, settings)
    place, folder = Path(store or default_store()).absolute(), Path(out)
    cache = Path(features).absolute() if features else place
    with process_group(device) as group, lock_folder(folder, group):
        with _in_turn(group):
            data = prepare_task(
                task, kind, settings, corpus, store=place, folder=folder, group=group, jobs=jobs,
                reporter=reporter,
            )  # fmt: skip
        evaluation = _open_evaluation(folder, data)
        if not group.rank:
            for name, text in data.folds[0].task.files.items():
                write_atomically(folder / name, text)
            evaluation.write(folder)
        for spec in specs:
            for seed in range(seeds):
                if reporter and not group.rank:
                    reporter.message(f"{task} on {spec.name} ({spec.mode}), seed {seed}")
                run = TaskRun(data, spec, seed, folder, cache, group, minutes, reporter)
                evaluation = _add_outcome(evaluation, spec, run.outcome())
                if not group.rank:
                    evaluation.write(folder)
                    write_report(evaluation, folder)
    return evaluation


@contextmanager
def _in_turn(group: ProcessGroup) -> Generator[None]:
    """Let the first process run alone; the others follow, and find its work in the store."""
    if group.rank:
        group.wait()
    try:
        yield
    finally:
        if not group.rank:
            group.wait()


def _open_evaluation(folder: Path, data: TaskData) -> Evaluation:
    """The evaluation in the folder, or a new one; InputError if the folder holds another."""
    task, settings = data.folds[0].task, data.settings.to_dict()
    packages = versions("torch")
    new = Evaluation(
        data.name, task.metric, settings, data.about, (), packages, tuple(task.warnings)
    )
    if not (folder / "results.json").exists():
        return new
    known = Evaluation.read(folder)
    # A folder may hold frozen and finetuned encoders side by side.
    asked, there = ({**values, "mode": ""} for values in (settings, known.settings))
    unlike = config.differences({"task": data.name}, {"task": known.task})
    unlike += config.differences(asked, there)
    unlike += config.differences(data.about, known.data, "data.")
    if unlike:
        raise AnotherEvaluation(
            f"{folder} holds another evaluation: {'; '.join(unlike[:5])} there. Repeat its "
            "settings to add to it, or choose another --out"
        )
    return replace(new, models=known.models)


def _add_outcome(evaluation: Evaluation, spec: EncoderSpec, outcome: Outcome) -> Evaluation:
    """The evaluation with an outcome added, or replaced where that seed has one."""
    models = {(model.name, model.mode): model for model in evaluation.models}
    model = models.get((spec.name, spec.mode)) or Model(spec.name, spec.mode)
    others = [other for other in model.outcomes if other.seed != outcome.seed]
    outcomes = tuple(sorted([*others, outcome], key=lambda outcome: outcome.seed))
    models[spec.name, spec.mode] = replace(
        model, pseudo_labels=spec.pseudo_labels, outcomes=outcomes
    )
    return replace(evaluation, models=tuple(models.values()))
