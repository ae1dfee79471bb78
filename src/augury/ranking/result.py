"""What a ranking holds, and how it is written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from augury.corpus.corpus import Rejected
from augury.corpus.manifest import write_quarantine
from augury.store import write_atomically
from augury.tables import csv_text


@dataclass(frozen=True)
class Result:
    """One candidate's place in the ranking and everything it rests on. `None`: not defined."""

    name: str  # as asked for: "F0", "column:age", "mypackage.labels:jitter"
    source: str  # what it stands for: "opensmile:ComParE_2016:F0final_sma"
    status: str  # "ranked", "constant" (the same everywhere), "missing" (too few values)
    score: float | None  # CI estimate; lower is better
    interval: tuple[float, float] | None  # 95 % of the score, bootstrap
    rank_interval: tuple[int, int] | None  # 95 % of the rank
    tier: int | None  # 1 the best; within one the order is not settled
    p_value: float | None  # of the score if z and the speech were independent inside the classes
    shuffled: float | None  # mean score with z shuffled inside classes: what chance alone gives
    shuffled_sd: float | None  # its standard deviation, where it has a closed form (robust)
    spread: float | None  # 0..1, mean of 1 − L within classes: the label's spread, X never used
    dependence: float | None  # HSIC(X,Z), unbiased and normalised: 0 independent, 1 fully dependent
    relevance: float | None  # HSIC(Z,Y), the same scale; near 0 the candidate says nothing of Y
    chance_sd: float | None  # sd of total and relevance when the points are shuffled (mean 0)
    noise_relevance: float | None  # what noise averaged over the segments has, by their lengths
    relevance_p: float | None  # of a relevance so far above that by chance
    relevant: bool | None  # relevance_p below .01
    error: float | None  # bound on the score's relative error by approximation, not rounding
    classes: tuple[float | None, ...]  # each class's value (robust: normalised HSIC), class order
    dims: int  # 1 for a scalar pseudo-label
    missing: int  # segments without a value, left out for this candidate
    histogram: tuple[tuple[int, ...], float, float]  # counts in equal bins, low, high (raw units)
    note: str  # one sentence for the reader, or ""


@dataclass(frozen=True)
class Sensitivity:
    """The order under other settings, on a fixed subset of the segments."""

    segments: int  # how many segments the subset has
    settings: tuple[str, ...]  # e.g. "as set", "N = 10", "σ_gd = 0.035", "kernel width × 2"
    scores: dict[str, tuple[float | None, ...]]  # candidate → its score under each setting


@dataclass(frozen=True)
class Ranking:
    """Candidates best first, with what is needed to trust, question and reproduce the order."""

    estimator: str  # "paper", "released" or "robust"
    label: str  # the column ranked for
    results: tuple[Result, ...]  # ranked ones best first, then those that can't be ranked
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    class_shares: tuple[float, ...]  # weights of the classes in the score
    segments: int
    recordings: int
    hours: float  # of the recordings read, whole
    warnings: tuple[str, ...]
    redundancy: tuple[tuple[float | None, ...], ...]  # Spearman between candidates, as results
    better: tuple[tuple[float, ...], ...]  # P(the row's score is lower), ranked ones, as results
    resampled: str  # what the intervals resample: "segment", "recording" or a column
    units: int  # how many of those there are
    sensitivity: Sensitivity | None
    quarantine: dict[str, int]  # reason → segments left out
    settings: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # what was read → its BLAKE2b digest
    command: str = ""  # a command line that gives this ranking again
    rejected: tuple[Rejected, ...] = ()  # the segments left out, one by one
    timings: dict[str, float] = field(
        default_factory=dict
    )  # seconds by kind of work, all processes

    def to_dict(self) -> dict[str, object]:
        """What ranking.json holds: no times, so that the same inputs give the same bytes."""
        plain = asdict(replace(self, rejected=(), timings={}))
        del plain["rejected"], plain["timings"]
        return plain

    def write(self, folder: Path | str) -> None:
        """Write ranking.json, ranking.csv, quarantine.csv and timings.json."""
        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / "ranking.json", text + "\n")
        write_atomically(folder / "ranking.csv", self._table())
        write_quarantine(self.rejected, folder / "quarantine.csv")
        timings = {name: round(seconds, 3) for name, seconds in self.timings.items()}
        write_atomically(folder / "timings.json", json.dumps(timings, indent=1) + "\n")

    def _table(self) -> str:
        columns = [
            "name", "source", "status", "score", "p_value", "tier", "shuffled", "shuffled_sd",
            "spread", "dependence", "relevance", "chance_sd", "noise_relevance", "relevance_p",
            "relevant", "error", "dims", "missing", "note",
        ]  # fmt: skip
        ends = ["low", "high", "rank_low", "rank_high"]
        inputs = [f"input:{name}" for name in self.inputs]
        names = [f"class:{name}" for name in self.class_names]
        settings = json.dumps(self.settings, ensure_ascii=False)
        rows = (
            [
                rank if result.status == "ranked" else "",
                *(getattr(result, column) for column in columns),
                *(result.interval or ("", "")),
                *(result.rank_interval or ("", "")),
                self.label,
                self.estimator,
                settings,
                *self.inputs.values(),
                *result.classes,
            ]
            for rank, result in enumerate(self.results, 1)
        )
        run = ["label", "estimator", "settings"]
        return csv_text(["rank", *columns, *ends, *run, *inputs, *names], rows)
