"""The experiment whole: rank, pretrain with every candidate, judge, and see who was right.

`validate` fills a folder as it goes: results.csv (a row for each encoder, task and seed), and from
it, every ten minutes and at the end, the tables, figures and report. All else lies in the store:
whoever calls it again goes on where it was, with another folder too.
"""

from __future__ import annotations

import csv
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augury import compute, pseudolabels
from augury.errors import InputError
from augury.extraction.corpus import PACKAGES
from augury.extraction.plan import Embedding
from augury.provenance import versions
from augury.ranking.dataset import open_dataset, select_segments
from augury.reporter import Reporter
from augury.store import default_store, digest, write_atomically
from augury.tables import write_csv
from augury.validation import estimators, plan
from augury.validation.analysis import Analysis, Measurement, analyse
from augury.validation.jobs import (
    Job,
    JobOutcome,
    RunOptions,
    run_chain,
    run_pretraining,
    write_result,
)
from augury.validation.plan import ModelJobs, RecipeCorpora
from augury.validation.recipe import Recipe, RecipeTask

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
    before = _read_rows(Path(out) / "results.csv") if out else {}
    for entry in entries:
        judged = [
            known[job.key] or _result_from_rows(job, before.get(job.key, ()))
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
    site = RunOptions(Path(store or default_store()).absolute(), device or "", minutes)
    folder = Path(out)
    data = plan.read_corpora(recipe)
    entries = plan.plan_models(recipe, data)  # what is no setting is said before hours of work
    processes = jobs or max(1, compute.process_count() - 1)
    estimates: dict[str, Any] = {}
    for judge in recipe.tasks:
        reporter.message(f"estimates for {judge.name}")
        estimates[judge.name] = _estimate(recipe, judge, data, site, jobs, cluster, reporter)
    try:
        _extract(recipe, data, site, jobs, reporter)
    except ValueError as error:  # of one candidate: the job that needs it says so too
        reporter.message(f"not all could be extracted at once: {error}")
    groups = plan.plan_groups(recipe, data, estimates) if recipe.groups else {}
    for name, some in groups.items():
        count, of = len(plan.relevant_candidates(estimates[name])), len(recipe.candidates)
        if not some:
            reporter.message(f"no groups for {name}: {count} of {of} candidates are relevant")
        elif recipe.groups and count < 2 * recipe.groups.size:
            reporter.message(
                f"best and worst of {name} overlap: {count} of {of} candidates are relevant"
            )
    every = [*entries, *(one for some in groups.values() for one in some)]
    _import_rows(folder / "results.csv", every, site.store, reporter)
    failed: list[JobOutcome] = []
    rows = _write_rows(folder, entries, groups, site.store)
    reported = -math.inf
    for done in _run_chains(site, every, processes, cluster, reporter):
        failed += [one for one in done if one.result is None]
        rows = _write_rows(folder, entries, groups, site.store)
        if time.monotonic() - reported > REPORT_SECONDS:  # there is something to look at meanwhile
            analyse(recipe, estimates, *rows).write(folder, recipe)
            reported = time.monotonic()
    found = analyse(recipe, estimates, *rows)
    found.write(folder, recipe)
    return Validation(recipe, folder, found, tuple(failed))


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
        for index, done in compute.map_unordered(run_chain, site, open_, pool=pool, most=1):
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


# --------------------------------------------------------------------------------------- results


def _import_rows(path: Path, entries: Sequence[ModelJobs], store: Path, reporter: Reporter) -> None:
    """Let the store know the rows of an earlier run, wherever that was; InputError for no table."""
    before = _read_rows(path)
    asked = {job.key: job for entry in entries for job in entry.evaluate.values()}
    if strange := len(before.keys() - asked):
        content = path.read_bytes()
        kept = path.with_name(f"results-{digest(content)[:8]}.csv")  # each by a name of its own
        write_atomically(kept, content)
        reporter.message(
            f"{path} has rows of {strange} jobs that this recipe does not ask for: kept as {kept}"
        )
    for job in asked.values():
        result = _result_from_rows(job, before.get(job.key, ()))
        if result and not job.read_result(store):
            write_result(store, job, result)


def _read_rows(path: Path) -> dict[str, list[Measurement]]:
    """The rows of a results.csv by their jobs' keys; InputError for another table."""
    found: dict[str, dict[int, Measurement]] = defaultdict(dict)
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                row = Measurement.from_cells(cells)
                found[row.key][row.seed] = row  # the same job may stand there twice
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not a results.csv as this version writes it ({error})"
        ) from error
    return {key: list(rows.values()) for key, rows in found.items()}


def _result_from_rows(job: Job, rows: Sequence[Measurement]) -> dict[str, Any] | None:
    """An evaluation's result from its rows, where there is one for each seed."""
    if len(rows) != job.settings["seeds"]:
        return None
    outcomes = [
        {"seed": one.seed, "error": one.error, "interval": one.interval, "seconds": one.seconds}
        for one in rows
    ]
    first = rows[0]
    return {
        "metric": first.metric, "outcomes": outcomes, "machine": first.machine,
        "date": first.date, "pretrain_seconds": first.pretrain_seconds,
        "job_seconds": sum(one.seconds for one in rows),
    }  # fmt: skip


def _write_rows(
    folder: Path,
    entries: Sequence[ModelJobs],
    groups: Mapping[str, Sequence[ModelJobs]],
    store: Path,
) -> tuple[list[Measurement], dict[str, list[Measurement]]]:
    """The errors known so far, and those of groups by task, after writing them to results.csv."""
    rows, of_groups = (
        list(_measurements(entries, store)),
        {name: list(_measurements(some, store)) for name, some in groups.items()},
    )
    table = [row.cells() for row in rows]
    for name, some in of_groups.items():  # there the regime says whose the group is
        table += [replace(row, regime=f"group {name}: {row.regime}").cells() for row in some]
    write_csv(folder / "results.csv", Measurement.COLUMNS, table)
    return rows, of_groups


def _measurements(entries: Sequence[ModelJobs], store: Path) -> Iterator[Measurement]:
    for entry in entries:
        trained = entry.pretrain.read_result(store) if entry.pretrain else None
        for (task, mode), job in entry.evaluate.items():
            known = job.read_result(store)
            if known is None:
                continue
            spent = trained["seconds"] if trained else known.get("pretrain_seconds", 0.0)
            for one in known["outcomes"]:
                yield Measurement(
                    regime=entry.regime, candidate=entry.candidate, task=task, mode=mode,
                    pretrain_seed=entry.seed, seed=one["seed"], metric=known["metric"],
                    error=one["error"],
                    interval=tuple(one["interval"]) if one["interval"] else None,
                    seconds=one["seconds"],
                    pretrain_seconds=spent,
                    key=job.key, machine=known["machine"], date=known["date"],
                )  # fmt: skip
