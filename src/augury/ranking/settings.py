"""The settings of a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from augury.errors import InputError
from augury.extraction.plan import Embedding
from augury.pseudolabels.candidate import SEVEN
from augury.settings import Settings, setting


@dataclass(frozen=True)
class RankSettings(Settings):
    """How a ranking is made. Defaults are the paper's values.

    >>> RankSettings(label="speaker", parts=0).parts
    20
    """

    of_what: ClassVar[str] = "a ranking"

    label: Annotated[str, setting("column with the downstream label")]
    candidates: Annotated[tuple[str, ...], setting("names of the candidates")] = tuple(SEVEN)
    estimator: Annotated[
        Literal["robust", "paper", "released"],
        setting("how dependence is estimated; paper: eqs. 1-4, released: the authors' code"),
    ] = "robust"
    embedding: Annotated[
        Literal["gaussian", "svcca"],
        setting("Gaussian downsampling, or SVCCA as the paper's robustness check"),
    ] = "gaussian"
    parts: Annotated[
        int,
        setting("N of the embedding; 0: 20, and 10 for `released`", 0, 1000),
    ] = 0
    downsampling_width: Annotated[
        float, setting("σ of the downsampling", 1e-3, 10.0, unit="fractions of a segment's length")
    ] = 0.07
    kernel_width: Annotated[
        float,
        setting("σ of the pseudo-label kernel; `paper` only", 1e-100, 1e100, unit="its own units"),
    ] = 0.05
    unvoiced: Annotated[
        Literal["published", "voiced"],
        setting(
            "published: means include openSMILE's 0 (F0) or -100 (log HNR) where there is no "
            "voice; voiced: voiced frames only"
        ),
    ] = "published"
    recording_level: Annotated[
        Literal["kept", "removed"],
        setting(
            "removed: the mean level of each recording (dB, over its segments and bands) is "
            "subtracted from the speech, where recordings differ in gain only"
        ),
    ] = "kept"
    split: Annotated[str, setting("use only rows of this split")] = ""
    exclude: Annotated[tuple[str, ...], setting("a label to leave out; may be given again")] = ()
    max_bad: Annotated[float, setting("share of segments that may be unusable", 0, 1)] = 0.05
    sensitivity: Annotated[bool, setting("also rank under settings near the chosen ones")] = True
    tolerance: Annotated[
        float, setting("relative error that approximations of a class's value aim at", 1e-12, 0.1)
    ] = 1e-6
    bootstrap: Annotated[
        int,
        setting(
            "resamples behind intervals of scores and ranks, and tiers; 0: none of these, nor "
            "p-values by moments",
            0,
            100_000,
        ),
    ] = 1000
    group: Annotated[
        str,
        setting(
            "what is independent, and resampled whole, for intervals, relevance and p-values: a "
            "column (such as speaker), recording, or segment; by default recording where "
            "recordings have several segments, else segment"
        ),
    ] = ""
    permutations: Annotated[
        int,
        setting(
            "shuffles behind the p-values of scores; 0: by moments for `robust`, none for the "
            "others",
            0,
            100_000,
        ),
    ] = 0
    seed: Annotated[int, setting("of resamples and shuffles", 0, 2**63)] = 0

    def check(self) -> None:
        """Raise InputError where settings do not go together."""
        if not self.parts:
            object.__setattr__(self, "parts", 10 if self.estimator == "released" else 20)
        if self.estimator == "released" and self.parts % 2:
            raise InputError(f"parts is {self.parts}, but the released recipe needs an even number")
        if self.permutations and self.estimator == "released":
            raise InputError(
                "the released code hardly centres its kernels, and shuffles of its score mean "
                "nothing; leave out permutations, or choose robust or paper"
            )
        if 0 < self.bootstrap < 100:
            raise InputError(
                f"bootstrap is {self.bootstrap}, but 95 % need at least 100; or 0: none"
            )
        if self.recording_level == "removed" and (
            self.estimator == "released" or self.embedding == "svcca"
        ):
            raise InputError(
                "recording_level: only the Gaussian embedding of robust and paper has a level to "
                "remove; drop svcca or released, or keep the level"
            )
        if self.estimator == "released" and self.embedding == "svcca":
            raise InputError("the released code embeds by Gaussian downsampling only; drop svcca")

    @classmethod
    def of(cls, **choices: Any) -> RankSettings:
        """Settings from keywords; an unknown one is an error that names the nearest."""
        return cls.from_choices(choices)

    def base_embedding(self) -> Embedding:
        """The embedding that these settings ask for."""
        kind = "released" if self.estimator == "released" else self.embedding
        return Embedding(kind, self.parts, self.downsampling_width)
