"""An experiment: rank candidates, pretrain with each, evaluate, and compare the two orders.

`validate` writes results.csv (a row for each model, task and seed) into a folder as it goes, and
every ten minutes and at the end tables, figures and report. Everything else is in the store: a
second call resumes the experiment, with another folder, too.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augury import compute, pseudolabels
from augury.errors import InputError
from augury.extraction.corpus import PACKAGES
from augury.extraction.plan import Embedding
from augury.provenance import versions
from augury.ranking.dataset import open_dataset, select_segments
from augury.reporter import Reporter
from augury.store import default_store
from augury.validation import estimators, plan
from augury.validation.analysis import Analysis, analyse
from augury.validation.jobs import (
    Job,
    JobOutcome,
    RunOptions,
    run_chain,
    run_pretraining,
    write_result,
)
from augury.validation.measurements import (
    Measurement,
    import_rows,
    read_rows,
    result_from_rows,
    write_rows,
)
from augury.validation.plan import ModelJobs, RecipeCorpora
from augury.validation.recipe import Recipe, RecipeTask
from augury.validation.report import write_report

if TYPE_CHECKING:
    from distributed import Client

#: Embeddings beside that of the settings: as the released code's, and by SVCCA.
EXTRA_EMBEDDINGS = (Embedding("released", 10, 0.07), Embedding("svcca", 20, 0.07))
#: Seconds between two reports while the experiment runs.
REPORT_SECONDS = 600.0


@dataclass(frozen=True)
class JobPlan:
    """The jobs of an experiment, and how long they will take."""

    jobs: tuple[tuple[Job, bool, float], ...]  # each, whether it is done, core seconds it needs
    later: int  # number of jobs of the group experiment, if they depend on rankings not done yet

    @property
    def seconds(self) -> float:
        """Core seconds of all jobs that are not done."""
        return sum(seconds for _, _, seconds in self.jobs)


@dataclass(frozen=True)
class Validation:
    """The result of an experiment: see `Analysis`.

    `failed`: jobs that failed; calling `validate` again tries them again.

    >>> from augury.validation.recipe import PretrainingRecipe, Regime
    >>> rest = PretrainingRecipe("m.csv"), (Regime("a"),), (RecipeTask("t", "asr", "m.csv", "y"),)
    >>> recipe = Recipe("r", Path("r.toml"), ("own:rms", "own:flux", "own:noise"), *rest)
    >>> Validation(recipe, Path("results"), analyse(recipe, {}, [], {})).analysis.core_hours
    0.0
    """

    recipe: Recipe
    folder: Path
    analysis: Analysis
    failed: tuple[JobOutcome, ...] = ()


def plan_jobs(
    recipe: Recipe, store: Path | str | None = None, out: Path | str | None = None
) -> JobPlan:
    """The jobs of a recipe, and about how long each will take; none is run.

    Args:
        recipe: from `read_recipe`.
        store: folder of the results of jobs.
        out: folder of an experiment whose results.csv counts, too.

    Raises:
        InputError: a mistake in the recipe, or a results.csv that isn't one.

    >>> from augury.validation.recipe import PretrainingRecipe, RankingData, Regime
    >>> m = str(Path(compute.__file__).parents[1] / "demo_data" / "manifest.csv")
    >>> task = RecipeTask("task", "classify", m, "speaker", rank=RankingData(m, label="speaker"))
    >>> rest = PretrainingRecipe(m, seeds=1), (Regime("alone"),), (task,)
    >>> len(plan_jobs(Recipe("r", Path(), ("own:rms", "own:flux", "own:noise"), *rest)).jobs)
    11
    """
    options = RunOptions(Path(store or default_store()).absolute())
    data = plan.read_corpora(recipe)
    models = plan.plan_models(recipe, data)
    ranked = {task.name: _estimates_job(recipe, task, data) for task in recipe.tasks}
    estimates = {name: job.read_result(options.store) for name, job in ranked.items()}
    later = 0
    if recipe.groups and None not in estimates.values():
        groups = plan.plan_groups(recipe, data, estimates)
        models += [model for of_task in groups.values() for model in of_task]
    elif recipe.groups:
        tasks = recipe.groups.tasks or tuple(task.name for task in recipe.tasks)
        later = len(tasks) * recipe.groups.seeds * 4 * (1 + len(recipe.groups.modes))
    jobs = [*ranked.values(), *_unique_jobs(models)]
    results = {job.key: job.read_result(options.store) for job in jobs}
    imported = read_rows(Path(out) / "results.csv") if out else {}
    for model in models:
        evaluations = [
            results[job.key] or result_from_rows(job, imported.get(job.key, ()))
            for job in model.evaluate.values()
        ]
        results |= zip((job.key for job in model.evaluate.values()), evaluations, strict=True)
        if model.pretrain and results[model.pretrain.key] is None and None not in evaluations:
            spent = max(result.get("pretrain_seconds", 0.0) for result in evaluations if result)
            results[model.pretrain.key] = {"job_seconds": spent}
    history: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if job.kind != "estimates" and (result := results[job.key]):
            history[plan.duration_class(job)].append(result["job_seconds"])
    rows: list[tuple[Job, bool, float]] = []
    for job in jobs:
        done = results[job.key] is not None
        guess = 0.0 if done or job.kind == "estimates" else plan.guess_seconds(job, history)
        rows.append((job, done, guess))
    return JobPlan(tuple(rows), later)


def validate(
    recipe: Recipe,
    *,
    out: Path | str,
    store: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | Client | None = None,
    device: str | None = None,
    minutes: float = 2.0,
    reporter: Reporter | None = None,
) -> Validation:
    """Run or resume a recipe's experiment, and analyse how well each estimator predicts errors.

    Args:
        recipe: from `read_recipe`.
        out: folder of the tables, figures and report.
        store: folder of extracted values, and of the results of jobs, which are not run twice.
        jobs: processes, each with one thread; enough to keep all cores busy if not given.
        cluster: a Dask cluster to use instead, see `augury.compute.open_pool`.
        device: "cpu" or "cuda", for training.
        minutes: between checkpoints.
        reporter: receives progress of the extraction, and messages on jobs done or failed.

    Raises:
        InputError: a mistake in the recipe, such as a column, split or candidate that does not
            exist.

    >>> from augury.validation.recipe import PretrainingRecipe, Regime
    >>> rest = PretrainingRecipe("m.csv"), (Regime("a"),), (RecipeTask("t", "asr", "m.csv", "y"),)
    >>> recipe = Recipe("r", Path("r.toml"), ("own:rms", "own:flux", "own:noise"), *rest)
    >>> validate(recipe, out="results")  # checked before anything is run
    Traceback (most recent call last):
    ...
    augury.errors.MissingFile: m.csv: there is no such manifest or folder; check the path
    """
    reporter = reporter or Reporter()
    options = RunOptions(Path(store or default_store()).absolute(), device or "", minutes)
    folder = Path(out)
    data = plan.read_corpora(recipe)
    models = plan.plan_models(recipe, data)  # first, since it raises if a setting is wrong
    processes = jobs or max(1, compute.process_count() - 1)
    estimates: dict[str, Any] = {}
    for task in recipe.tasks:
        reporter.message(f"estimates for {task.name}")
        estimates[task.name] = _estimate(recipe, task, data, options, jobs, cluster, reporter)
    _extract(recipe, data, options, jobs, reporter)
    groups = _plan_groups(recipe, data, estimates, reporter)
    every = [*models, *(model for of_task in groups.values() for model in of_task)]
    import_rows(folder / "results.csv", every, options.store, reporter)
    failed: list[JobOutcome] = []
    rows = write_rows(folder, models, groups, options.store)
    last_report = -math.inf
    for outcomes in _run_chains(options, every, processes, cluster, reporter):
        failed += [outcome for outcome in outcomes if outcome.result is None]
        rows = write_rows(folder, models, groups, options.store)
        if time.monotonic() - last_report > REPORT_SECONDS:
            _write_analysis(recipe, estimates, rows, folder)
            last_report = time.monotonic()
    analysis = _write_analysis(recipe, estimates, rows, folder)
    return Validation(recipe, folder, analysis, tuple(failed))


def _plan_groups(
    recipe: Recipe, data: RecipeCorpora, estimates: Mapping[str, Any], reporter: Reporter
) -> dict[str, list[ModelJobs]]:
    """The group experiment's models by task, none without one; warns of groups that overlap."""
    if not recipe.groups:
        return {}
    groups = plan.plan_groups(recipe, data, estimates)
    for name, models in groups.items():
        count, total = len(plan.relevant_candidates(estimates[name])), len(recipe.candidates)
        if not models:
            reporter.message(f"no groups for {name}: {count} of {total} candidates are relevant")
        elif count < 2 * recipe.groups.size:
            reporter.message(
                f"best and worst of {name} overlap: {count} of {total} candidates are relevant"
            )
    return groups


def _write_analysis(
    recipe: Recipe,
    estimates: Mapping[str, Any],
    rows: tuple[list[Measurement], dict[str, list[Measurement]]],
    folder: Path,
) -> Analysis:
    """Analyse the errors measured so far; write tables and report."""
    analysis = analyse(recipe, estimates, *rows)
    analysis.write(folder)
    write_report(analysis, recipe, folder)
    return analysis


# ------------------------------------------------------------------------------------ estimates


def _estimates_job(recipe: Recipe, task: RecipeTask, data: RecipeCorpora) -> Job:
    settings = plan.rank_settings(recipe, task)
    packages = pseudolabels.packages(pseudolabels.parse_candidates(list(recipe.candidates)))
    about = {
        "settings": settings.to_dict(), "estimators": list(estimators.ESTIMATORS),
        "functions": plan.function_versions(recipe.candidates), "versions": versions(*packages),
        "version": estimators.VERSION,
    }  # fmt: skip
    return Job(f"estimates for {task.name}", "estimates", data.ranked[task.name], about)


def _estimate(
    recipe: Recipe,
    task: RecipeTask,
    data: RecipeCorpora,
    options: RunOptions,
    jobs: int | None,
    cluster: str | Client | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """The estimates of every estimator for every candidate, for one task."""
    job = _estimates_job(recipe, task, data)
    if done := job.read_result(options.store):
        return done
    settings = plan.rank_settings(recipe, task)
    corpus = select_segments(job.data.read(), settings)
    began = time.monotonic()
    embeddings = (settings.base_embedding(), *EXTRA_EMBEDDINGS)
    with open_dataset(
        corpus, settings, embeddings=embeddings, which=range(len(embeddings)),
        store=options.store, jobs=jobs, cluster=cluster, reporter=reporter,
    ) as dataset:  # fmt: skip
        result: dict[str, Any] = {"table": estimators.estimates(dataset)}
    result["job_seconds"] = round(time.monotonic() - began, 1)
    write_result(options.store, job, result)
    return result


def _extract(
    recipe: Recipe,
    data: RecipeCorpora,
    options: RunOptions,
    jobs: int | None,
    reporter: Reporter,
) -> None:
    """Extract every candidate from the speech to pretrain on, with all processes."""
    candidates = pseudolabels.parse_candidates(recipe.candidates)
    names = [candidate.name for candidate in candidates if candidate.provider != "column"]
    resources = {"store": options.store, "jobs": jobs, "reporter": reporter}
    try:
        settings = recipe.pretrain_settings(None, dict.fromkeys(names, 1.0), mel=1.0).to_dict()
        code = plan.user_function_versions(names)
        job = Job("extraction", "extraction", data.pretrain, settings, code=code)
        if job.read_result(options.store) is None:
            run_pretraining(job, job.folder(options.store), prepare_only=True, **resources)
            write_result(options.store, job, {})
    except InputError as error:  # of one candidate: the jobs that need it will fail
        reporter.message(f"not all could be extracted at once: {error}")


# --------------------------------------------------------------------------------------- running


def _unique_jobs(models: Sequence[ModelJobs]) -> list[Job]:
    return list({job.key: job for model in models for job in model.chain}.values())


def _run_chains(
    options: RunOptions,
    models: Sequence[ModelJobs],
    processes: int,
    cluster: str | Client | None,
    reporter: Reporter,
) -> Iterator[list[JobOutcome]]:
    """Run the models' jobs, those of a model in one chain; yield the outcomes of each chain."""
    chains: dict[str, dict[str, Job]] = {}
    finished = 0
    for model in models:
        if all(job.read_result(options.store) for job in model.evaluate.values()):
            finished += 1
            continue
        # The groups of two tasks may be the same: in one chain, none waits for the other.
        chain = chains.setdefault(model.chain[0].key, {})
        chain |= {job.key: job for job in model.chain}
    if finished:
        reporter.message(f"{finished} of {len(models)} encoders were evaluated before")
    unfinished = [list(chain.values()) for chain in chains.values()]
    began, ended = time.monotonic(), 0
    with compute.open_pool(cluster, processes, packages=PACKAGES) as pool:
        for index, outcomes in compute.map_any_order(
            run_chain, options, unfinished, pool=pool, most=1
        ):
            ended += 1
            if isinstance(outcomes, compute.WorkerDied):
                outcomes = [
                    _outcome_of_dead_worker(options, job, str(outcomes))
                    for job in unfinished[index]
                ]
            spent = time.monotonic() - began
            left = spent / ended * (len(unfinished) - ended)
            for outcome in outcomes:
                if outcome.result is None:
                    log = f"; see {outcome.log}" if outcome.log else ""
                    reporter.message(f"failed: {outcome.job.name}: {outcome.reason}{log}")
            name, minutes = unfinished[index][0].name, left / 60
            reporter.message(f"{ended} of {len(unfinished)}: {name}; about {minutes:.0f} min left")
            yield outcomes


def _outcome_of_dead_worker(options: RunOptions, job: Job, reason: str) -> JobOutcome:
    """The outcome of a job whose worker process died."""
    log = job.folder(options.store) / "log.txt"
    result = job.read_result(options.store)
    return JobOutcome(job, result, "" if result else reason, log if log.exists() else None)
