"""The targets of workers, and the means and standard deviations that normalise them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus
from augury.errors import InputError
from augury.pretraining.clips import Clips
from augury.pretraining.settings import PretrainSettings
from augury.pseudolabels.candidate import Candidate
from augury.pseudolabels.columns import categories


@dataclass(frozen=True, eq=False)
class Target:
    """What a worker predicts at every frame: numbers, or a category.

    >>> pitch = Target("F0", "opensmile", 1.0, np.array([120.0]), np.array([30.0]))
    >>> pitch.dims
    1
    """

    name: str  # of the pseudo-label: "F0", "column:phone"; "mel", "mfcc" for the speech itself
    source: str  # where its values come from
    weight: float  # of its worker in the total loss; 0: no worker
    mean: NDArray[np.float64]  # (dims,) over the training frames; for categories: their shares
    standard_deviation: NDArray[np.float64]  # (dims,) over the training frames; for categories: 1
    categories: tuple[str, ...] = ()  # empty: the target is numeric

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Target):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def dims(self) -> int:
        """Numbers that its worker predicts at a frame."""
        return len(self.mean)


@dataclass(frozen=True)
class Summary:
    """Count, mean and sum of squared deviations from the mean, of each dimension of some values.

    >>> both = Summary.of(np.array([1.0, 2.0])) + Summary.of(np.array([6.0]))
    >>> both.mean, both.count
    (array([3.]), array([3.]))
    """

    count: NDArray[np.float64]  # (dims,)
    mean: NDArray[np.float64]  # (dims,)
    squares: NDArray[np.float64]  # (dims,)

    @classmethod
    def of(cls, values: NDArray) -> Summary:
        """The summary of values (frames,) or (frames, dims), without those that are not finite."""
        values = values.astype(np.float64)
        if values.ndim == 1:
            values = values[:, None]
        known = np.isfinite(values)
        count = known.sum(axis=0).astype(np.float64)
        mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known, np.square(values - mean), 0).sum(axis=0)
        return cls(count, mean, squares)

    def __add__(self, other: Summary) -> Summary:
        """The summary of both together (Chan, Golub, LeVeque 1983): subtracts no large sums."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        difference = other.mean - self.mean
        mean = self.mean + difference * share
        squares = self.squares + other.squares + np.square(difference) * self.count * share
        return Summary(count, mean, squares)

    @property
    def standard_deviation(self) -> NDArray[np.float64]:
        """(dims,) of the values, with the count as divisor."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


def speech_targets(sums: dict[str, Summary], settings: PretrainSettings) -> Iterator[Target]:
    """The targets of the log-mel and of its MFCCs, even if their weight is 0."""
    # An empty band (above 4 kHz in telephone speech) must not have its rounding errors amplified.
    for name, weight, least in (("mel", settings.mel, 1.0), ("mfcc", settings.mfcc, 0.1)):
        standard_deviation = np.maximum(sums[name].standard_deviation, least)
        yield Target(name, name, weight, sums[name].mean, standard_deviation)


def candidate_target(
    candidate: Candidate, clips: Clips, sums: dict[str, Summary], corpus: Corpus, weight: float
) -> tuple[Target, Clips]:
    """A candidate as a target, and clips whose categories are coded by those in the training clips.

    Raises:
        InputError: the candidate is constant, or has no value, in the training clips.
    """
    if candidate.provider != "column":
        summary = sums[candidate.name]
    else:
        values, training = clips.columns[candidate.name], ~clips.held_out
        if values.dtype.kind == "i":
            texts = categories(corpus, candidate)
            used = np.unique(values[training & (values >= 0)])
            if len(used) < 2:
                raise InputError(
                    f"{candidate.name}: all training clips are of one category; drop it"
                )
            codes = np.full(len(texts) + 1, -1, np.int64)  # the last: for empty cells
            codes[used] = np.arange(len(used))
            codes = codes[values]
            clips = replace(clips, columns=clips.columns | {candidate.name: codes})
            # Each category's share of the frames: the best constant guess.
            shares = np.bincount(codes[training] + 1, clips.frames[training])[1:]
            named = tuple(texts[k] for k in used)
            return Target(
                candidate.name,
                candidate.source,
                weight,
                shares / shares.sum(),
                np.ones(len(used)),
                named,
            ), clips
        summary = _weighted_summary(values[training], clips.frames[training])
    if not summary.count.all():
        raise InputError(
            f"{candidate.name} has no value at all in some of its dimensions; drop it, or see why"
        )
    standard_deviation = summary.standard_deviation
    constant = standard_deviation <= 1e-9 * np.abs(summary.mean)
    if constant.all():
        raise InputError(
            f"{candidate.name} is {summary.mean[0]:g} everywhere: nothing to learn; drop it"
        )
    standard_deviation = np.where(constant, 1.0, standard_deviation)
    return Target(candidate.name, candidate.source, weight, summary.mean, standard_deviation), clips


def _weighted_summary(values: NDArray, frames: NDArray) -> Summary:
    """The summary of one value a clip (clips,), each counted as often as its clip has frames."""
    known = np.isfinite(values)
    values, frames = values[known], frames[known].astype(np.float64)
    count = frames.sum()
    mean = frames @ values / max(count, 1)
    squares = frames @ np.square(values - mean)
    return Summary(*(np.array([value]) for value in (count, mean, squares)))
