"""The jobs of a recipe: each encoder is pretrained, and then evaluated on every task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augury import audio, pseudolabels
from augury.corpus.corpus import Corpus, TooManyBad
from augury.downstream.settings import EvaluateSettings
from augury.downstream.splits import assign_splits
from augury.downstream.tasks.task import find_task, task_version
from augury.errors import InputError, explain_os_errors
from augury.pretraining.settings import EncoderSettings, PretrainSettings
from augury.pseudolabels import own, smile_timing
from augury.ranking.dataset import select_segments
from augury.ranking.settings import RankSettings
from augury.store import digest, key
from augury.validation.estimators import DEFAULT, RECOMMENDED
from augury.validation.jobs import Job, JobCorpus, describe_corpus, read_job_corpus
from augury.validation.recipe import BASELINE, BASELINES, RECONSTRUCTION, Recipe, RecipeTask

#: For estimates before any job is done: operations a second of a core, and seconds that a frame
#: costs beside them. With these, `small`, `paper` and the encoders of recipes/speechocean762.toml
#: train at × 89, 1.4 and 192 real time; measured were 91, 2 and 140.
OPERATIONS, FRAME_SECONDS = 6e10, 2.5e-5
#: × real time at which a core trains a task's head on features, for one epoch.
LEARNING_SPEED = 400.0


@dataclass(frozen=True)
class ModelJobs:
    """The jobs of a model: its pretraining, if it is an encoder, and its evaluations."""

    regime: str  # name of a regime, or "baseline"
    candidate: str  # or "mel", "random", "reconstruction", or several joined by commas
    seed: int  # of its pretraining
    pretrain: Job | None
    evaluate: Mapping[tuple[str, str], Job]  # task and mode → its job

    @property
    def chain(self) -> list[Job]:
        """Its jobs, in order."""
        return [*([self.pretrain] if self.pretrain else []), *self.evaluate.values()]


@dataclass(frozen=True)
class RecipeCorpora:
    """The corpora of a recipe."""

    pretrain: JobCorpus
    tasks: dict[str, JobCorpus]  # task → the corpus that it is trained and scored on
    ranked: dict[str, JobCorpus]  # task → the corpus that candidates are ranked on


def read_corpora(recipe: Recipe) -> RecipeCorpora:
    """The corpora of pretraining and of each task, each read once and checked.

    Raises:
        InputError: a column, label or split that does not exist: before hours of work, not after.
    """
    read: dict[tuple[str, str], tuple[Corpus, JobCorpus]] = {}

    def read_once(manifest: str, level: str) -> tuple[Corpus, JobCorpus]:
        if (manifest, level) not in read:
            corpus = read_job_corpus(manifest, level)
            read[manifest, level] = corpus, describe_corpus(corpus, manifest, level)
        return read[manifest, level]

    tasks: dict[str, JobCorpus] = {}
    ranked: dict[str, JobCorpus] = {}
    for task in recipe.tasks:
        corpus, tasks[task.name] = read_once(task.manifest, task.level)
        labelled, ranked[task.name] = read_once(task.rank.manifest, task.rank.level)
        try:
            select_segments(labelled, rank_settings(recipe, task))
            task_class, settings = find_task(task.task), task_settings(recipe, task)
            corpus, _ = task_class.select_segments(settings, corpus)
            assign_splits(corpus, settings, known_speakers=task_class.known_speakers)
        except TooManyBad:  # raised as it is: it lists the bad rows
            raise
        except InputError as error:
            raise InputError(f"tasks.{task.name}: {error}") from error
        if listed := task.settings.get("trials"):  # its content counts, not its path
            with explain_os_errors(listed):
                content = key(tasks[task.name].digest, digest(Path(listed).read_bytes()))
            tasks[task.name] = replace(tasks[task.name], digest=content)
    corpus, pretrain = read_once(recipe.pretrain.manifest, recipe.pretrain.level)
    if split := recipe.pretrain_settings(None, {}).split:
        corpus.in_split(split)
    return RecipeCorpora(pretrain, tasks, ranked)


def plan_models(recipe: Recipe, data: RecipeCorpora) -> list[ModelJobs]:
    """The models to evaluate: baselines, then for each seed reconstruction and all candidates."""
    models = [_plan_model(recipe, data, BASELINE, name, 0, None, name) for name in BASELINES]
    for seed in range(recipe.pretrain.seeds):
        settings = recipe.pretrain_settings(None, {}, seed=seed).to_dict()
        models.append(_plan_encoder(recipe, data, BASELINE, RECONSTRUCTION, seed, settings))
        for regime in recipe.regimes:
            for name in recipe.candidates_of(regime):
                settings = recipe.pretrain_settings(regime, {name: 1.0}, seed=seed).to_dict()
                model = _plan_encoder(
                    recipe, data, regime.name, name, seed, settings, tasks=recipe.tasks_of(regime)
                )
                models.append(model)
    return models


def plan_groups(
    recipe: Recipe, data: RecipeCorpora, estimates: Mapping[str, Any]
) -> dict[str, list[ModelJobs]]:
    """Task → models of the group experiment: the best of its ranking, the worst, all, random."""
    groups = recipe.groups
    assert groups
    regime = next(regime for regime in recipe.regimes if regime.name == groups.regime)
    models: dict[str, list[ModelJobs]] = {}
    for task in recipe.tasks:
        if groups.tasks and task.name not in groups.tasks:
            continue
        models[task.name] = []
        order = relevant_candidates(estimates[task.name])
        for seed in range(groups.seeds if len(order) > 1 else 0):
            for name, members in _group_members(order, groups.size, seed).items():
                weights = dict.fromkeys(members, 1.0)
                settings = recipe.pretrain_settings(regime, weights, seed=seed).to_dict()
                model = _plan_encoder(
                    recipe, data, name, ", ".join(members), seed, settings,
                    tasks=[task], modes=groups.modes,
                )  # fmt: skip
                models[task.name].append(model)
    return models


def relevant_candidates(estimates: Mapping[str, Any]) -> list[str]:
    """The candidates that are relevant to a task's label, best estimate first.

    >>> table = {DEFAULT: {"a": 0.1, "b": 0.2}, RECOMMENDED: {"a": 2.1, "b": 0.2}}
    >>> relevant_candidates({"table": table})  # a would be better, but is not relevant
    ['b']
    """
    plain, recommended = (estimates["table"][name] for name in (DEFAULT, RECOMMENDED))
    relevant = [name for name, value in recommended.items() if value is not None]
    # The two estimates differ only for candidates that are not relevant.
    relevant = [name for name in relevant if recommended[name] == plain[name]]
    return sorted(relevant, key=lambda name: (plain[name], name))


def _group_members(order: list[str], size: int, seed: int) -> dict[str, list[str]]:
    """Group → its candidates, of the relevant ones: noise would be too easy a worst group."""
    size = min(size, len(order))
    drawn = np.random.default_rng(seed).permutation(sorted(order))[:size]
    return {
        "best": sorted(order[:size]),
        "worst": sorted(order[-size:]),
        "all": sorted(order),
        "random": sorted(drawn.tolist()),
    }


def _plan_encoder(
    recipe: Recipe,
    data: RecipeCorpora,
    regime: str,
    candidate: str,
    seed: int,
    settings: dict[str, Any],
    *,
    tasks: Sequence[RecipeTask] = (),
    modes: Sequence[str] = (),
) -> ModelJobs:
    name = f"{regime}: {candidate}, seed {seed}"
    versions = user_function_versions(settings["pseudo_labels"])
    job = Job(f"pretrain {name}", "pretrain", data.pretrain, settings, code=versions)
    return _plan_model(recipe, data, regime, candidate, seed, job, "", tasks, modes)


def function_versions(names: Collection[str]) -> dict[str, str]:
    """Name → version of the functions among some candidates, and of columns with a measured centre.

    A column's is how far its centre was moved: what was made with another centre has another key.
    """
    candidates = pseudolabels.parse_candidates(list(names)) if names else []
    versions = {
        candidate.name: pseudolabels.function_version(candidate)
        for candidate in candidates
        if candidate.provider in ("function", "own")
    }
    offsets = {
        candidate.name: f"centre {1000 * offset:+.0f} ms"
        for candidate in candidates
        if candidate.provider == "opensmile" and (offset := smile_timing.offset(candidate.item))
    }
    return versions | offsets


def user_function_versions(names: Collection[str]) -> dict[str, str]:
    """The same, but for functions of `pseudolabels.own`: when they change, `jobs.VERSION` does."""
    return {
        name: version
        for name, version in function_versions(names).items()
        if pseudolabels.parse_candidate(name).origin != own.__name__
    }


def _plan_model(
    recipe: Recipe,
    data: RecipeCorpora,
    regime: str,
    candidate: str,
    seed: int,
    pretrain: Job | None,
    encoder: str,
    tasks: Sequence[RecipeTask] = (),
    modes: Sequence[str] = (),
) -> ModelJobs:
    jobs: dict[tuple[str, str], Job] = {}
    for task in tasks or recipe.tasks:
        settings = task_settings(recipe, task).to_dict()
        for mode in modes or (settings["mode"],):
            jobs[task.name, mode] = Job(
                f"{task.name} ({mode}) on {regime}: {candidate}, seed {seed}",
                "evaluate",
                data.tasks[task.name],
                settings
                | {"mode": mode, "task": task.task, "seeds": task.seeds, "encoder": encoder},
                pretrain,
                task_version(task.task),
            )
    return ModelJobs(regime, candidate, seed, pretrain, jobs)


def rank_settings(recipe: Recipe, task: RecipeTask) -> RankSettings:
    """The settings of a task's ranking."""
    labelled = task.rank
    return RankSettings.of(
        label=labelled.label, candidates=recipe.candidates, split=labelled.split,
        exclude=labelled.exclude, sensitivity=False, **labelled.settings,
    )  # fmt: skip


def task_settings(recipe: Recipe, task: RecipeTask) -> EvaluateSettings:
    """The settings of a task's evaluation; InputError if the recipe's are wrong.

    A random encoder has the sizes of the pretrained ones, unless the task sets others.
    """
    choices: dict[str, Any] = {"label": task.label, "random_encoder": recipe.pretrain.preset}
    known = find_task(task.task).Settings
    known.check_choices(task.settings)
    return known.of(task.preset, task.task, **choices | task.settings)


def guess_seconds(job: Job, durations: Mapping[str, Sequence[float]]) -> float:
    """About how many seconds a job will take: the mean of similar jobs, or a guess.

    `durations`: seconds of the jobs done so far, by `duration_class`.
    """
    similar = durations.get(duration_class(job))
    if similar:
        return float(np.mean(similar))
    settings = job.settings
    audible = job.data.hours * 3600
    if job.kind == "pretrain":
        return audible * settings["epochs"] * 3 * _encoding_seconds(settings["encoder"])
    runs = settings["seeds"] * max(1, settings.get("folds", 0))
    learned = audible * settings["epochs"] * runs / LEARNING_SPEED
    if job.needs:
        encoded = _encoding_seconds(job.needs.settings["encoder"])
    elif settings["encoder"] == "random":
        sizes = PretrainSettings.of(settings["random_encoder"], {}).encoder
        encoded = _encoding_seconds(asdict(sizes))
    else:  # the log-mel
        return learned
    times = 1 if settings["mode"] == "frozen" else 3 * settings["epochs"] * runs
    return learned + audible * times * encoded


def _encoding_seconds(sizes: Mapping[str, Any]) -> float:
    """Seconds that a core needs to encode a second of speech."""
    operations = EncoderSettings(**sizes).operations
    return (operations / OPERATIONS + FRAME_SECONDS / 3) / audio.HOP


def duration_class(job: Job) -> str:
    """A text that is the same for jobs that take about equally long."""
    settings = (job.settings.get("task"), job.settings.get("mode"), job.settings["epochs"])
    return f"{job.kind} {job.data.digest} {settings}"
