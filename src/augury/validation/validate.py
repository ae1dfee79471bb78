"""The experiment whole: rank, pretrain with every candidate, judge, and see who was right.

`validate` fills a folder as it goes: results.csv (a row for each encoder, task and seed), and from
it, every ten minutes and at the end, the tables, figures and report. All else lies in the store:
whoever calls it again goes on where it was, with another folder too.
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

#: As the released code embeds, and by SVCCA, beside the settings' own embedding.
EXTRA_EMBEDDINGS = (Embedding("released", 10, 0.07), Embedding("svcca", 20, 0.07))
#: Seconds between two reports of what is known so far.
REPORT_SECONDS = 600.0


@dataclass(frozen=True)
class JobPlan:
    """What there is to do, before anything is done."""

    jobs: tuple[tuple[Job, bool, float], ...]  # each, whether it is known, seconds of a core
    later: int  # jobs of the group experiment, which depend on rankings not known yet

    @property
    def seconds(self) -> float:
        """Of one core, for what is left."""
        return sum(seconds for _, _, seconds in self.jobs)


@dataclass(frozen=True)
class Validation:
    """What an experiment found so far."""

    recipe: Recipe
    folder: Path
    analysis: Analysis
    failed: tuple[JobOutcome, ...] = ()


def plan_jobs(
    recipe: Recipe, store: Path | str | None = None, out: Path | str | None = None
) -> JobPlan:
    """The jobs of a recipe, and about how long each will take; nothing is done.

    Args:
        recipe: from `read_recipe`.
        store: folder of jobs that are done.
        out: folder of an experiment whose results.csv counts, too.

    Raises:
        InputError: something in the recipe that can't be, or a results.csv that is none.
    """
    site = RunOptions(Path(store or default_store()).absolute())
    data = plan.read_corpora(recipe)
    entries = plan.plan_models(recipe, data)
    ranked = {judge.name: _estimates_job(recipe, judge, data) for judge in recipe.tasks}
    estimates = {name: job.read_result(site.store) for name, job in ranked.items()}
    later = 0
    if recipe.groups and None not in estimates.values():
        groups = plan.plan_groups(recipe, data, estimates)
        entries += [one for some in groups.values() for one in some]
    elif recipe.groups:
        tasks = recipe.groups.tasks or tuple(one.name for one in recipe.tasks)
        later = len(tasks) * recipe.groups.seeds * 4 * (1 + len(recipe.groups.modes))
    jobs = [*ranked.values(), *_unique_jobs(entries)]
    known = {job.key: job.read_result(site.store) for job in jobs}
    before = read_rows(Path(out) / "results.csv") if out else {}
    for entry in entries:
        judged = [
            known[job.key] or result_from_rows(job, before.get(job.key, ()))
            for job in entry.evaluate.values()
        ]
        known |= zip((job.key for job in entry.evaluate.values()), judged, strict=True)
        if entry.pretrain and known[entry.pretrain.key] is None and None not in judged:
            spent = max(one.get("pretrain_seconds", 0.0) for one in judged if one)
            known[entry.pretrain.key] = {"job_seconds": spent}
    history: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if job.kind != "estimates" and (result := known[job.key]):
            history[plan.duration_class(job)].append(result["job_seconds"])
    rows = []
    for job in jobs:
        done = known[job.key] is not None
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
    """Run a recipe's experiment, or what is left of it, and say which estimator predicts.

    Args:
        recipe: from `read_recipe`.
        out: folder of the tables, figures and report.
        store: folder of extracted values, and of jobs: what was done once is not done again.
        jobs: processes, each with one thread; as many as there are cores if not given.
        cluster: a Dask cluster that does the work instead, see `augury.compute.open_pool`.
        device: of torch, for training.
        minutes: between checkpoints.
        reporter: told of recordings that are extracted, and of jobs that are done or have failed.

    Raises:
        InputError: something in the recipe that can't be: a column, a split, a candidate.
    """
    reporter = reporter or Reporter()
    options = RunOptions(Path(store or default_store()).absolute(), device or "", minutes)
    folder = Path(out)
    data = plan.read_corpora(recipe)
    models = plan.plan_models(recipe, data)  # settings that are wrong are said before hours of work
    processes = jobs or max(1, compute.process_count() - 1)
    estimates: dict[str, Any] = {}
    for task in recipe.tasks:
        reporter.message(f"estimates for {task.name}")
        estimates[task.name] = _estimate(recipe, task, data, options, jobs, cluster, reporter)
    try:
        _extract(recipe, data, options, jobs, reporter)
    except ValueError as error:  # of one candidate: the job that needs it says so too
        reporter.message(f"not all could be extracted at once: {error}")
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
    """Analyse what is measured so far; write tables and report."""
    analysis = analyse(recipe, estimates, *rows)
    analysis.write(folder)
    write_report(analysis, recipe, folder)
    return analysis


# ------------------------------------------------------------------------------------ estimates


def _estimates_job(recipe: Recipe, judge: RecipeTask, data: RecipeCorpora) -> Job:
    settings = plan.rank_settings(recipe, judge)
    packages = pseudolabels.packages(pseudolabels.parse_candidates(list(recipe.candidates)))
    about = {
        "settings": settings.to_dict(), "estimators": list(estimators.ESTIMATORS),
        "functions": plan.function_versions(recipe.candidates), "versions": versions(*packages),
        "version": estimators.VERSION,
    }  # fmt: skip
    return Job(f"estimates for {judge.name}", "estimates", data.ranked[judge.name], about)


def _estimate(
    recipe: Recipe,
    judge: RecipeTask,
    data: RecipeCorpora,
    site: RunOptions,
    jobs: int | None,
    cluster: str | Client | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """What every estimator says of every candidate, for one task."""
    job = _estimates_job(recipe, judge, data)
    known = job.read_result(site.store)
    if known:
        return known
    settings = plan.rank_settings(recipe, judge)
    given = select_segments(job.data.read(), settings)
    began = time.monotonic()
    embeddings = (settings.base_embedding(), *EXTRA_EMBEDDINGS)
    with open_dataset(
        given, settings, embeddings=embeddings, which=range(len(embeddings)),
        store=site.store, jobs=jobs, cluster=cluster, reporter=reporter,
    ) as there:  # fmt: skip
        result: dict[str, Any] = {"table": estimators.estimates(there)}
    result["job_seconds"] = round(time.monotonic() - began, 1)
    write_result(site.store, job, result)
    return result


def _extract(
    recipe: Recipe,
    data: RecipeCorpora,
    site: RunOptions,
    jobs: int | None,
    reporter: Reporter,
) -> None:
    """Extract every candidate of the speech that encoders learn from, with all processes."""
    chosen = [one for one in recipe.candidates if not one.startswith("column:")]
    settings = recipe.pretrain_settings(None, dict.fromkeys(chosen, 1.0), mel=1.0).to_dict()
    code = plan.user_function_versions(chosen)
    job = Job("extraction", "extraction", data.pretrain, settings, code=code)
    if job.read_result(site.store) is not None:
        return
    where = job.folder(site.store)
    run_pretraining(job, where, store=site.store, jobs=jobs, prepare_only=True, reporter=reporter)
    write_result(site.store, job, {})


# --------------------------------------------------------------------------------------- running


def _unique_jobs(entries: Sequence[ModelJobs]) -> list[Job]:
    return list({job.key: job for entry in entries for job in entry.chain}.values())


def _run_chains(
    site: RunOptions,
    entries: Sequence[ModelJobs],
    processes: int,
    cluster: str | Client | None,
    reporter: Reporter,
) -> Iterator[list[JobOutcome]]:
    """Chains as they end; first those that are known."""
    chains: dict[str, dict[str, Job]] = {}
    before = 0
    for entry in entries:
        if all(job.read_result(site.store) for job in entry.evaluate.values()):
            before += 1
            continue
        # Groups of two tasks may be the same: one chain, so that none waits for the other.
        chain = chains.setdefault(entry.chain[0].key, {})
        chain |= {job.key: job for job in entry.chain}
    if before:
        reporter.message(f"{before} of {len(entries)} encoders were judged before")
    open_ = [list(chain.values()) for chain in chains.values()]
    began, ended = time.monotonic(), 0
    with compute.open_pool(cluster, processes, packages=PACKAGES) as pool:
        for index, done in compute.map_any_order(run_chain, site, open_, pool=pool, most=1):
            ended += 1
            if isinstance(done, compute.WorkerDied):
                done = [_outcome_of_dead_worker(site, job, str(done)) for job in open_[index]]
            spent = time.monotonic() - began
            left = spent / ended * (len(open_) - ended)
            for one in done:
                if one.result is None:
                    where = f"; see {one.log}" if one.log else ""
                    reporter.message(f"failed: {one.job.name}: {one.reason}{where}")
            reporter.message(
                f"{ended} of {len(open_)}: {open_[index][0].name}; about {left / 60:.0f} min left"
            )
            yield done


def _outcome_of_dead_worker(site: RunOptions, job: Job, reason: str) -> JobOutcome:
    """What became of a job whose worker died on the way."""
    log = job.folder(site.store) / "log.txt"
    known = job.read_result(site.store)
    return JobOutcome(job, known, "" if known else reason, log if log.exists() else None)
