"""The result of a ranking, and how it is written and read."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from augury.corpus.corpus import Rejected
from augury.corpus.manifest import write_quarantine
from augury.errors import InputError, explain_os_errors
from augury.hsic.clusters import ClusterMeasures
from augury.pseudolabels.candidate import KINDS
from augury.ranking.command import command_line
from augury.ranking.origin import Origin
from augury.ranking.settings import RankSettings
from augury.store import write_atomically
from augury.tables import csv_text

#: |Spearman| may exceed 1 by this much, from rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Result:
    """A candidate's score and rank, and everything behind them; None: not defined.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest).select(range(0, 480, 8))
    >>> ranking = augury.rank(corpus, ["own:rms"], label="speaker", jobs=1, sensitivity=False)
    >>> ranking.results[0].relevant, round(ranking.results[0].score, 1)
    (True, 0.1)
    """

    name: str  # as the user wrote it: "F0", "column:age", "mypackage.labels:jitter"
    source: str  # its full name: "opensmile:ComParE_2016:F0final_sma"
    kind: str  # "scalar", "vector" or "category"; scores of different kinds can't be compared
    status: str  # "ranked", "constant" (the same everywhere), "missing" (too few values)
    score: float | None  # CI estimate; lower is better
    interval: tuple[float, float] | None  # 95 % of the score, bootstrap
    rank_interval: tuple[int, int] | None  # 95 % of the rank among the relevant ones of its kind
    tier: int | None  # 1 the best of its kind; the order within a tier is not settled
    p_value: float | None  # of the score; H0: z and the speech are independent inside the classes
    shuffled: float | None  # mean score with z shuffled inside classes: the score of chance
    shuffled_sd: float | None  # its standard deviation, where it has a closed form (robust)
    spread: float | None  # 0..1, mean of 1 − L within classes: how the values differ, without X
    dependence: float | None  # HSIC(X,Z), unbiased and normalised: 0 independent, 1 fully dependent
    relevance: float | None  # HSIC(Z,Y), the same scale; near 0: unrelated to Y
    chance_sd: float | None  # sd of dependence and relevance over shuffles (mean 0)
    noise_relevance: float | None  # relevance of noise averaged over the segments
    relevance_p: float | None  # p-value of the relevance; H0: that of noise
    relevant: bool | None  # relevance_p below .01
    relevance_strength: str | None  # "none", "faint" or "clear": by p, and by size beyond noise's
    information: float | None  # nats of mutual information with Y, compares across kinds
    error: float | None  # bound on the score's relative error by approximation, without rounding
    classes: tuple[float | None, ...]  # each class's value (robust: normalised HSIC), class order
    dims: int  # 1 for a scalar pseudo-label
    missing: int  # segments without a value, left out for this candidate
    histogram: tuple[tuple[int, ...], float, float]  # counts in equal bins, low, high (raw units)
    note: str  # one sentence for the reader, or ""
    clusters: ClusterMeasures | None = None  # of a category: PNMI, purities, how many are used

    @property
    def relevance_share(self) -> float | None:
        """Relevance / dependence: how much of what it has in common with speech is the label's.

        A dependence within chance counts as its standard deviation. None where there is no
        relevance.
        """
        if self.relevant is False or not self.chance_sd:
            return None
        if self.relevance is None or self.dependence is None:
            return None
        return self.relevance / max(self.dependence, self.chance_sd)


@dataclass(frozen=True)
class Sensitivity:
    """The order under other settings, on a fixed subset of the segments."""

    segments: int  # how many segments the subset has
    settings: tuple[str, ...]  # e.g. "as set", "N = 10", "σ_gd = 0.035", "kernel width × 2"
    scores: dict[str, tuple[float | None, ...]]  # candidate → its score under each setting


@dataclass(frozen=True)
class Ranking:
    """Candidates best first, with everything needed to check and reproduce the order.

    >>> import augury
    >>> from pathlib import Path
    >>> manifest = Path(augury.__file__).parent / "demo_data" / "manifest.csv"
    >>> corpus = augury.read_corpus(manifest)
    >>> ranking = augury.rank(corpus, ["own:rms"], label="digit", out="results", jobs=1)
    >>> augury.Ranking.read("results") == ranking
    True
    """

    #: How pydantic reads ranking.json: no numbers as text, no NaN, no unknown fields.
    __pydantic_config__ = {"strict": True, "allow_inf_nan": False, "extra": "forbid"}  # noqa: RUF012

    estimator: str  # "paper", "released" or "robust"
    label: str  # the column with the downstream label
    results: tuple[Result, ...]  # of each kind best first; then the irrelevant; then the unranked
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]  # segments of each class
    class_shares: tuple[float, ...]  # weights of the classes in the score
    segments: int
    recordings: int
    hours: float  # total length of the recordings
    warnings: tuple[str, ...]
    redundancy: tuple[tuple[float | None, ...], ...]  # Spearman between candidates, as results
    #: P(the row's score is lower), `ranked_results`; None where they have no common order.
    better: tuple[tuple[float | None, ...], ...]
    resampled: str  # unit that the intervals resample: "segment", "recording" or a column
    units: int  # number of these units
    sensitivity: Sensitivity | None
    quarantine: dict[str, int]  # reason → segments left out
    origin: Origin  # where the segments were read from
    settings: RankSettings
    versions: dict[str, str]  # of the packages that computed it
    inputs: dict[str, str]  # input → its BLAKE2b digest
    rejected: tuple[Rejected, ...] = ()  # the segments left out, one by one
    timings: dict[str, float] = field(default_factory=dict)  # seconds by kind, all processes

    @property
    def ranked_results(self) -> list[Result]:
        """The results that have a score: of each kind best first, those of no relevance last."""
        return [
            result
            for result in self.results
            if result.status == "ranked"
            and result.score is not None
            and math.isfinite(result.score)
        ]

    @property
    def relevant_results(self) -> list[Result]:
        """The ranked results, of each kind best first, without those unrelated to the label."""
        return [result for result in self.ranked_results if result.relevant is not False]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the candidates that have a score, see `KINDS`."""
        there = {result.kind for result in self.ranked_results}
        return tuple(kind for kind in KINDS if kind in there)

    @property
    def ranks(self) -> dict[str, int]:
        """Each relevant candidate's rank among those of its kind, 1 the best; equal if tied."""
        relevant = [(r.name, r.kind, r.score or 0.0) for r in self.relevant_results]
        return {
            name: 1 + sum(other == kind and lower < score for _, other, lower in relevant)
            for name, kind, score in relevant
        }

    def of_kind(self, kind: str) -> Ranking:
        """The ranking of the candidates of one kind alone: only these can be put in order.

        Those that could not be ranked are of a kind, too.
        """
        places = [i for i, result in enumerate(self.results) if result.kind == kind]
        ranked = [k for k, result in enumerate(self.ranked_results) if result.kind == kind]
        return replace(
            self,
            results=tuple(self.results[i] for i in places),
            redundancy=tuple(tuple(self.redundancy[i][j] for j in places) for i in places),
            better=tuple(
                tuple(self.better[i][j] for j in ranked) for i in ranked if i < len(self.better)
            ),
        )

    @property
    def command(self) -> str:
        """A command line that ranks the same manifest with the same settings."""
        return command_line(self.origin, self.settings)

    def to_dict(self) -> dict[str, object]:
        """The content of ranking.json; without timings, so that equal inputs give equal bytes."""
        plain: dict[str, object] = asdict(replace(self, rejected=(), timings={}))
        del plain["rejected"], plain["timings"]
        return plain | {"settings": self.settings.to_dict(), "command": self.command}

    def write(self, folder: Path | str) -> None:
        """Write ranking.json, ranking.csv, quarantine.csv and timings.json."""
        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / "ranking.json", text + "\n")
        write_atomically(folder / "ranking.csv", self._table())
        write_quarantine(self.rejected, folder / "quarantine.csv")
        write_atomically(folder / "timings.json", json.dumps(self.timings, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path | str) -> Ranking:
        """A ranking from its ranking.json, or the folder that holds it; equal to the one written.

        `rejected` and `timings` are read from quarantine.csv and timings.json beside it, and are
        empty where those files are missing. File names that are not UTF-8 stay escaped.

        Raises:
            InputError: a file can't be read, or is not as `write` writes it.
        """
        path = Path(path)
        path = path / "ranking.json" if path.is_dir() else path
        ranking = _parse(path)
        return replace(
            ranking,
            rejected=_read_quarantine(path.with_name("quarantine.csv")),
            timings=_read_timings(path.with_name("timings.json")),
        )

    def _table(self) -> str:
        columns = [
            "name", "source", "kind", "status", "score", "p_value", "tier", "shuffled",
            "shuffled_sd", "spread", "dependence", "relevance", "chance_sd", "noise_relevance",
            "relevance_p", "relevant", "relevance_strength", "relevance_share", "information",
            "error", "dims", "missing", "note",
        ]  # fmt: skip
        clusters = ["pnmi", "label_purity", "cluster_purity", "entropy", "used"]
        ends = ["low", "high", "rank_low", "rank_high"]
        inputs = [f"input:{name}" for name in self.inputs]
        names = [f"class:{name}" for name in self.class_names]
        settings = json.dumps(self.settings.to_dict(), ensure_ascii=False)
        ranks = self.ranks
        rows = (
            [
                ranks.get(result.name, ""),
                *(getattr(result, column) for column in columns),
                *(getattr(result.clusters, column, "") for column in clusters),
                *(result.interval or ("", "")),
                *(result.rank_interval or ("", "")),
                self.label,
                self.estimator,
                settings,
                *self.inputs.values(),
                *result.classes,
            ]
            for result in self.results
        )
        run = ["label", "estimator", "settings"]
        return csv_text(["rank", *columns, *clusters, *ends, *run, *inputs, *names], rows)


# ------------------------------------------------------------------------------------- reading


def _parse(path: Path) -> Ranking:
    """The content of ranking.json, checked."""
    from pydantic import TypeAdapter, ValidationError

    data = _content(path)
    try:
        plain = json.loads(data.decode("utf-8"))
        if not isinstance(plain, dict):
            raise InputError("it holds no object")
        fields = cast(dict[str, Any], plain)
        fields.pop("command", None)  # rendered from origin and settings
        ranking = TypeAdapter(Ranking).validate_json(json.dumps(fields))
        _check(ranking)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(_not_ours(path, "ranking.json", f"{place}: {first['msg']}")) from error
    except (ValueError, RecursionError) as error:
        raise InputError(_not_ours(path, "ranking.json", str(error))) from error
    return ranking


def _check(ranking: Ranking) -> None:
    """Raise InputError where fields contradict each other."""
    names = [result.name for result in ranking.results]
    if len(set(names)) < len(names):
        raise InputError("a candidate is ranked twice")
    for result in ranking.results:
        if result.status == "ranked" and (result.score is None or result.relevance is None):
            raise InputError(f"{result.name} is ranked, but has no score or no relevance")
    table = ranking.redundancy
    if len(table) != len(names) or any(len(row) != len(names) for row in table):
        raise InputError(f"redundancy is not {len(names)} × {len(names)}")
    if any(abs(value) > 1 + ROUNDING for row in table for value in row if value is not None):
        raise InputError("redundancy is beyond 1")
    count = len(ranking.ranked_results)
    if ranking.better and [len(row) for row in ranking.better] != [count] * count:
        raise InputError(f"better is not {count} × {count}")
    lengths = {len(ranking.class_names), len(ranking.class_counts), len(ranking.class_shares)}
    if len(lengths) > 1:
        raise InputError("class_names, class_counts and class_shares are not of one length")


def _read_quarantine(path: Path) -> tuple[Rejected, ...]:
    if not path.exists():
        return ()
    data = _content(path)
    try:
        text = io.StringIO(data.decode("utf-8"), newline="")
        rows = list(csv.DictReader(text, strict=True))
        if any(value is None for row in rows for value in row.values()):
            raise InputError("a row is cut short")
        return tuple(
            Rejected(
                int(row["row"]),
                row["path"],
                float(row["start"]) if row["start"] else None,
                float(row["end"]) if row["end"] else None,
                row["reason"],
                row["detail"],
            )
            for row in rows
        )
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(_not_ours(path, "quarantine.csv", repr(error))) from error


def _read_timings(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    data = _content(path)
    try:
        plain: Any = json.loads(data.decode("utf-8"))
        seconds = list(cast(dict[str, Any], plain).values()) if isinstance(plain, dict) else [None]
        if not all(type(value) in (int, float) for value in seconds):
            raise InputError("it holds no object of numbers")
    except (ValueError, RecursionError) as error:
        raise InputError(_not_ours(path, "timings.json", str(error))) from error
    return cast(dict[str, float], plain)


def _content(path: Path) -> bytes:
    with explain_os_errors(path):
        return path.read_bytes()


def _not_ours(path: Path, name: str, why: str) -> str:
    return f"{path}: not a {name} as `augury rank` writes it ({why})"
