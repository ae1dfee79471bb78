"""The jobs of a recipe, in chains: an encoder is pretrained, and then judged by every task."""

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
from augury.ranking.dataset import select_segments
from augury.ranking.settings import RankSettings
from augury.store import digest, key
from augury.validation.estimators import DEFAULT, RECOMMENDED
from augury.validation.jobs import Job, JobCorpus, describe_corpus, read_job_corpus
from augury.validation.recipe import BASELINE, BASELINES, RECONSTRUCTION, Recipe, RecipeTask

#: Of one core, before any job was done: operations a second, and the seconds that a frame costs
#: beside them. With these `small`, `paper` and the encoders of recipes/speechocean762.toml train at
#: × 89, 1.4 and 192 real time; measured were 91, 2 and 140.
OPERATIONS, FRAME_SECONDS = 6e10, 2.5e-5
#: × real time at which a task learns from features, a core and an epoch.
LEARNING_SPEED = 400.0


@dataclass(frozen=True)
class ModelJobs:
    """An encoder, or what stands in its place, and the jobs that judge it."""

    regime: str  # a regime's, or "baseline"
    candidate: str  # or "mel", "random", "reconstruction", or a group in words
    seed: int  # of its pretraining
    pretrain: Job | None
    evaluate: Mapping[tuple[str, str], Job]  # task and mode → its job

    @property
    def chain(self) -> list[Job]:
        """Its jobs in order."""
        return [*([self.pretrain] if self.pretrain else []), *self.evaluate.values()]


@dataclass(frozen=True)
class RecipeCorpora:
    """The corpora of a recipe, each looked at once."""

    pretrain: JobCorpus
    tasks: dict[str, JobCorpus]  # that each is trained and scored on
    ranked: dict[str, JobCorpus]  # that candidates are ranked on for it


def read_corpora(recipe: Recipe) -> RecipeCorpora:
    """Those of pretraining and of each task.

    Raises:
        InputError: a column, label or split that is not there: said now, not after hours of work.
    """
    read: dict[tuple[str, str], tuple[Corpus, JobCorpus]] = {}

    def one(manifest: str, level: str) -> tuple[Corpus, JobCorpus]:
        if (manifest, level) not in read:
            corpus = read_job_corpus(manifest, level)
            read[manifest, level] = corpus, describe_corpus(corpus, manifest, level)
        return read[manifest, level]

    tasks, ranked = {}, {}
    for judge in recipe.tasks:
        corpus, tasks[judge.name] = one(judge.manifest, judge.level)
        labelled, ranked[judge.name] = one(judge.rank.manifest, judge.rank.level)
        try:
            select_segments(labelled, rank_settings(recipe, judge))
            what, settings = find_task(judge.task), task_settings(recipe, judge)
            corpus, _ = what.select_segments(settings, corpus)
            assign_splits(corpus, settings, known_speakers=what.known_speakers)
        except TooManyBad:  # has with it what was refused
            raise
        except ValueError as error:
            raise InputError(f"tasks.{judge.name}: {error}") from error
        if listed := judge.settings.get("trials"):  # what is in the list counts, not where it lies
            with explain_os_errors(listed):
                content = key(tasks[judge.name].digest, digest(Path(listed).read_bytes()))
            tasks[judge.name] = replace(tasks[judge.name], digest=content)
    corpus, pretrain = one(recipe.pretrain.manifest, recipe.pretrain.level)
    if split := recipe.pretrain_settings(None, {}).split:
        corpus.in_split(split)
    return RecipeCorpora(pretrain, tasks, ranked)


def plan_models(recipe: Recipe, data: RecipeCorpora) -> list[ModelJobs]:
    """Baselines, reconstruction, and the candidates of each regime; a seed after the other."""
    made = [_plan_model(recipe, data, BASELINE, name, 0, None, name) for name in BASELINES]
    for seed in range(recipe.pretrain.seeds):
        settings = recipe.pretrain_settings(None, {}, seed=seed).to_dict()
        made.append(_plan_encoder(recipe, data, BASELINE, RECONSTRUCTION, seed, settings))
        for regime in recipe.regimes:
            for name in recipe.candidates_of(regime):
                settings = recipe.pretrain_settings(regime, {name: 1.0}, seed=seed).to_dict()
                entry = _plan_encoder(
                    recipe, data, regime.name, name, seed, settings, judges=recipe.tasks_of(regime)
                )
                made.append(entry)
    return made


def plan_groups(
    recipe: Recipe, data: RecipeCorpora, estimates: Mapping[str, Any]
) -> dict[str, list[ModelJobs]]:
    """Of the group experiment, task → entries: the best of its ranking, the worst, all, random."""
    groups = recipe.groups
    assert groups
    regime = next(one for one in recipe.regimes if one.name == groups.regime)
    made: dict[str, list[ModelJobs]] = {}
    for judge in recipe.tasks:
        if groups.tasks and judge.name not in groups.tasks:
            continue
        made[judge.name] = []
        order = relevant_candidates(estimates[judge.name])
        for seed in range(groups.seeds if len(order) > 1 else 0):
            for name, members in _group_members(order, groups.size, seed).items():
                weights = dict.fromkeys(members, 1.0)
                settings = recipe.pretrain_settings(regime, weights, seed=seed).to_dict()
                entry = _plan_encoder(
                    recipe, data, name, ", ".join(members), seed, settings,
                    judges=[judge], modes=groups.modes,
                )  # fmt: skip
                made[judge.name].append(entry)
    return made


def relevant_candidates(estimates: Mapping[str, Any]) -> list[str]:
    """The candidates that are relevant to a task's label, best estimate first."""
    plain, recommended = (estimates["table"][name] for name in (DEFAULT, RECOMMENDED))
    found = [name for name, value in recommended.items() if value is not None]
    # Only of what is not relevant do the two differ.
    found = [name for name in found if recommended[name] == plain[name]]
    return sorted(found, key=lambda name: (plain[name], name))


def _group_members(order: list[str], size: int, seed: int) -> dict[str, list[str]]:
    """Of what is relevant: with noise in it the worst group would be a straw man."""
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
    judges: Sequence[RecipeTask] = (),
    modes: Sequence[str] = (),
) -> ModelJobs:
    name = f"{regime}: {candidate}, seed {seed}"
    versions = user_function_versions(settings["pseudo_labels"])
    job = Job(f"pretrain {name}", "pretrain", data.pretrain, settings, code=versions)
    return _plan_model(recipe, data, regime, candidate, seed, job, "", judges, modes)


def function_versions(names: Collection[str]) -> dict[str, str]:
    """The versions of the functions among some candidates."""
    chosen = pseudolabels.parse_candidates(list(names)) if names else []
    return {
        one.name: pseudolabels.function_version(one) for one in chosen if one.kind == "function"
    }


def user_function_versions(names: Collection[str]) -> dict[str, str]:
    """Those that are the user's to change; where ours change, `jobs.VERSION` does."""
    return {
        name: one for name, one in function_versions(names).items() if not name.startswith("own:")
    }


def _plan_model(
    recipe: Recipe,
    data: RecipeCorpora,
    regime: str,
    candidate: str,
    seed: int,
    pretrain: Job | None,
    encoder: str,
    judges: Sequence[RecipeTask] = (),
    modes: Sequence[str] = (),
) -> ModelJobs:
    jobs: dict[tuple[str, str], Job] = {}
    for judge in judges or recipe.tasks:
        settings = task_settings(recipe, judge).to_dict()
        for mode in modes or (settings["mode"],):
            jobs[judge.name, mode] = Job(
                f"{judge.name} ({mode}) on {regime}: {candidate}, seed {seed}",
                "evaluate",
                data.tasks[judge.name],
                settings
                | {"mode": mode, "task": judge.task, "seeds": judge.seeds, "encoder": encoder},
                pretrain,
                task_version(judge.task),
            )
    return ModelJobs(regime, candidate, seed, pretrain, jobs)


def rank_settings(recipe: Recipe, judge: RecipeTask) -> RankSettings:
    """Of a task's ranking."""
    labelled = judge.rank
    return RankSettings.of(
        label=labelled.label, candidates=recipe.candidates, split=labelled.split,
        exclude=labelled.exclude, sensitivity=False, **labelled.settings,
    )  # fmt: skip


def task_settings(recipe: Recipe, judge: RecipeTask) -> EvaluateSettings:
    """A task's settings, all of them; InputError says what is wrong with the recipe's.

    Random encoders are of the sizes of those that are pretrained, unless the task says otherwise.
    """
    given: dict[str, Any] = {"label": judge.label, "random_encoder": recipe.pretrain.preset}
    given |= judge.settings
    return find_task(judge.task).Settings.of(judge.preset, judge.task, **given)


def guess_seconds(job: Job, known: Mapping[str, Sequence[float]]) -> float:
    """About how long a job will take: as long as others like it did, or a guess.

    `known`: what jobs took so far, by `likeness`.
    """
    before = known.get(duration_class(job))
    if before:
        return float(np.mean(before))
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
    """Seconds of a core that an encoder takes for a second of speech."""
    operations = EncoderSettings(**sizes).operations
    return (operations / OPERATIONS + FRAME_SECONDS / 3) / audio.HOP


def duration_class(job: Job) -> str:
    """What jobs have in common that take about as long as each other."""
    who = (job.settings.get("task"), job.settings.get("mode"), job.settings["epochs"])
    return f"{job.kind} {job.data.digest} {who}"
