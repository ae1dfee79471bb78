"""Downstream evaluation (the paper's third step): train a task on encoders, and score it.

The results folder is updated after each run: results.json, results.csv, report.html, and runs/ with
the trained weights. When called again, finished runs are read, and one that was stopped resumes.
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
        task: "asr", "speaker", "classify", or your own as "module:Class" (see `augury.Task`).
        corpus: from `read_corpus`.
        encoders: folders that `pretrain` wrote; "mel" for log-mel features alone, "random" for an
            encoder that was never trained.
        out: folder of the results. If it has an evaluation of the same task and settings, these
            encoders are added to it.
        preset: "paper", "small", or a TOML file of the task's settings.
        seeds: runs of each encoder: with seeds 0, 1, …, seeds − 1.
        store: folder of extracted values; the one that `rank` uses.
        features: folder of cached encoder features, 0.18 GB for each hour of speech and encoder;
            the store, if not given.
        jobs: processes that extract log-mel; enough to keep all cores busy if not given.
        device: of torch; a GPU where there is one, if not given.
        minutes: between checkpoints.
        reporter: gets the progress of extraction, encoding and training, a message when a run
            begins, and warnings of problems that do not stop a run.
        choices: fields of the task's settings, `label` included, that replace the preset's.

    Raises:
        InputError: no such task, setting, column, split or encoder; a speaker in both train and
            test.
        AnotherEvaluation: `out` has an evaluation of another task, settings or corpus.
        TooManyBad: a larger share than `max_bad` of the segments can't be used.
        Stopped: on SIGTERM, SIGUSR1 or Ctrl-C, after a checkpoint.

    >>> import augury
    >>> from pathlib import Path
    >>> corpus = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> corpus = corpus.select(range(0, len(corpus), 8))
    >>> evaluation = evaluate("classify", corpus, label="digit", out="results", seeds=1, jobs=1)
    >>> evaluation.metric.name, evaluation.data["test"]["segments"]
    ('error', 10)
    """
    kind = find_task(task)
    if seeds < 1:
        raise InputError(f"seeds is {seeds}, but it takes at least one")
    settings: EvaluateSettings = kind.Settings.of(preset, task, **choices)
    specs = find_encoders(encoders, settings)
    store_folder, folder = Path(store or default_store()).absolute(), Path(out)
    cache = Path(features).absolute() if features else store_folder
    with process_group(device) as group, lock_folder(folder, group):
        with _in_turn(group):
            data = prepare_task(
                task, kind, settings, corpus, store=store_folder, folder=folder, group=group,
                jobs=jobs, reporter=reporter,
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
    """Let the first process run the block alone; then the others, which read the store."""
    if group.rank:
        group.wait()
    try:
        yield
    finally:
        if not group.rank:
            group.wait()


def _open_evaluation(folder: Path, data: TaskData) -> Evaluation:
    """The evaluation in the folder, or a new one; AnotherEvaluation if there is another one."""
    task, settings = data.folds[0].task, data.settings.to_dict()
    packages = versions("torch")
    new = Evaluation(
        data.name, task.metric, settings, data.about, (), packages, tuple(task.warnings)
    )
    if not (folder / "results.json").exists():
        return new
    existing = Evaluation.read(folder)
    # One folder may have both frozen and finetuned encoders.
    ours, theirs = ({**values, "mode": ""} for values in (settings, existing.settings))
    differences = config.differences({"task": data.name}, {"task": existing.task})
    differences += config.differences(ours, theirs)
    differences += config.differences(data.about, existing.data, "data.")
    if differences:
        raise AnotherEvaluation(
            f"{folder} holds another evaluation: {'; '.join(differences[:5])} there. Repeat its "
            "settings to add to it, or choose another --out"
        )
    return replace(new, models=existing.models)


def _add_outcome(evaluation: Evaluation, spec: EncoderSpec, outcome: Outcome) -> Evaluation:
    """The evaluation with an outcome added; it replaces one of the same model and seed."""
    models = {(model.name, model.mode): model for model in evaluation.models}
    model = models.get((spec.name, spec.mode)) or Model(spec.name, spec.mode)
    others = [other for other in model.outcomes if other.seed != outcome.seed]
    outcomes = tuple(sorted([*others, outcome], key=lambda outcome: outcome.seed))
    models[spec.name, spec.mode] = replace(
        model, pseudo_labels=spec.pseudo_labels, outcomes=outcomes
    )
    return replace(evaluation, models=tuple(models.values()))
