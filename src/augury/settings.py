"""What a stage was asked to do: one frozen dataclass a stage."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from typing import Any

from augury.extract import Embedding
from augury.pseudolabels import SEVEN

ESTIMATORS = ("robust", "paper", "released")
EMBEDDINGS = ("gaussian", "svcca")
UNVOICED = ("published", "voiced")


@dataclass(frozen=True)
class RankSettings:
    """How a ranking is made. Defaults are the paper's values."""

    label: str  # column with the downstream label
    candidates: tuple[str, ...] = tuple(SEVEN)
    estimator: str = "robust"  # see augury.hsic
    embedding: str = "gaussian"  # or "svcca", the paper's robustness check
    parts: int = 0  # N; 0: 20, and 10 for `released` as in its TIMIT run
    downsampling_width: float = 0.07  # σ_gd, a fraction of a segment's length
    kernel_width: float = 0.05  # σ of L in the pseudo-label's units; `paper` only
    unvoiced: str = "published"  # frames without voice: as openSMILE writes them, or left out
    split: str = ""  # keep only rows of this split
    exclude: tuple[str, ...] = ()  # labels left out
    max_bad: float = 0.05  # share of segments that may be unusable
    sensitivity: bool = True  # whether the order is looked at under other settings too
    tolerance: float = 1e-6  # largest relative error of a class's value by approximation
    bootstrap: int = 1000  # replicates for intervals, ranks and tiers; 0: none
    group: str = ""  # column whose groups are resampled whole; "recording"; "segment"; "": see rank
    permutations: int = 0  # shuffles for p-values; 0: by moments (robust only)
    seed: int = 0  # of bootstrap and permutations

    def __post_init__(self) -> None:
        for name, allowed in (
            ("estimator", ESTIMATORS),
            ("embedding", EMBEDDINGS),
            ("unvoiced", UNVOICED),
        ):
            value = getattr(self, name)
            if value not in allowed:
                near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.3)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{name} is {value!r}, but must be {' or '.join(allowed)}{hint}")
        if not self.parts:
            object.__setattr__(self, "parts", 10 if self.estimator == "released" else 20)
        for name, low, high in (
            ("parts", 1, 1000),
            ("downsampling_width", 1e-3, 10.0),
            ("kernel_width", 1e-100, 1e100),
            ("tolerance", 1e-12, 0.1),
            ("bootstrap", 0, 100_000),
            ("permutations", 0, 100_000),
            ("seed", 0, 2**63),
        ):
            value = getattr(self, name)
            whole = name in ("parts", "bootstrap", "permutations", "seed")
            if not low <= value <= high or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"{name} is {value}, but must be {kind} from {low:g} to {high:g}")
        if self.estimator == "released" and self.parts % 2:
            raise ValueError(f"parts is {self.parts}, but the released recipe needs an even number")
        if isinstance(self.exclude, str) or isinstance(self.candidates, str):
            raise ValueError("exclude and candidates are lists of names; put the one in a list")
        if self.permutations and self.estimator == "released":
            raise ValueError(
                "the released code hardly centres its kernels, and shuffles of its score mean "
                "nothing; leave out permutations, or choose robust or paper"
            )
        if 0 < self.bootstrap < 100:
            raise ValueError(
                f"bootstrap is {self.bootstrap}, but 95 % need at least 100; or 0: none"
            )
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"max_bad is {self.max_bad}, but is a share between 0 and 1")
        if self.estimator == "released" and self.embedding == "svcca":
            raise ValueError("the released code embeds by Gaussian downsampling only; drop svcca")

    @classmethod
    def of(cls, **choices: Any) -> RankSettings:
        """Settings from keywords; an unknown one is an error that names the nearest."""
        known = [one.name for one in fields(cls)]
        for name in choices:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise ValueError(f"{name}: no such setting of a ranking; {hint}")
        return cls(**choices)

    def base_embedding(self) -> Embedding:
        """The embedding that these settings ask for."""
        kind = "released" if self.estimator == "released" else self.embedding
        return Embedding(kind, self.parts, self.downsampling_width)

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
