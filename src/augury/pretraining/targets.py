"""What workers predict, and by which mean and deviation it is normalised."""

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
    """What one worker predicts at every frame: numbers, or one of some categories.

    >>> pitch = Target("F0", "opensmile", 1.0, np.array([120.0]), np.array([30.0]))
    >>> pitch.dims
    1
    """

    name: str  # of the pseudo-label: "F0", "column:phone"; "mel", "mfcc" for the speech itself
    source: str  # where its values come from
    weight: float  # of its worker in the total loss; 0: no worker
    mean: NDArray[np.float64]  # (dims,) over the training frames; of categories: their shares
    standard_deviation: NDArray[np.float64]  # (dims,) over the training frames; of categories: 1
    categories: tuple[str, ...] = ()  # empty: a number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Target):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def dims(self) -> int:
        """Outputs of its worker per frame."""
        return len(self.mean)


@dataclass(frozen=True)
class Summary:
    """Count, mean and sum of squared deviations of each column of some values."""

    count: NDArray[np.float64]  # (dims,)
    mean: NDArray[np.float64]  # (dims,)
    squares: NDArray[np.float64]  # (dims,)

    @classmethod
    def of(cls, values: NDArray) -> Summary:
        """Of values (frames,) or (frames, dims); those that are not finite do not count."""
        values = values.astype(np.float64)
        if values.ndim == 1:
            values = values[:, None]
        known = np.isfinite(values)
        count = known.sum(axis=0).astype(np.float64)
        mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known, np.square(values - mean), 0).sum(axis=0)
        return cls(count, mean, squares)

    def __add__(self, other: Summary) -> Summary:
        """Of both together (Chan, Golub, LeVeque 1983): no large sums are subtracted."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.mean - self.mean
        mean = self.mean + apart * share
        squares = self.squares + other.squares + np.square(apart) * self.count * share
        return Summary(count, mean, squares)

    @property
    def standard_deviation(self) -> NDArray[np.float64]:
        """Standard deviation (dims,)."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


def speech_targets(sums: dict[str, Summary], settings: PretrainSettings) -> Iterator[Target]:
    """The log-mel and its MFCCs, even where they have no worker."""
    # A band that holds nothing (speech of 8 kHz) should not have its rounding blown up to speech.
    for name, weight, least in (("mel", settings.mel, 1.0), ("mfcc", settings.mfcc, 0.1)):
        deviation = np.maximum(sums[name].standard_deviation, least)
        yield Target(name, name, weight, sums[name].mean, deviation)


def candidate_target(
    one: Candidate, clips: Clips, sums: dict[str, Summary], corpus: Corpus, weight: float
) -> tuple[Target, Clips]:
    """How a candidate's values are normalised; codes of categories become those trained on."""
    if one.kind != "column":
        summary = sums[one.name]
    else:
        values, training = clips.columns[one.name], ~clips.held_out
        if values.dtype.kind == "i":
            texts = categories(corpus, one)
            used = np.unique(values[training & (values >= 0)])
            if len(used) < 2:
                raise InputError(f"{one.name}: all training clips are of one category; drop it")
            codes = np.full(len(texts) + 1, -1, np.int64)  # the last: where a cell is empty
            codes[used] = np.arange(len(used))
            codes = codes[values]
            clips = replace(clips, columns=clips.columns | {one.name: codes})
            # The share of the frames that each category has: the best constant guess.
            shares = np.bincount(codes[training] + 1, clips.frames[training])[1:]
            named = tuple(texts[k] for k in used)
            return Target(
                one.name, one.source, weight, shares / shares.sum(), np.ones(len(used)), named
            ), clips
        summary = _weighted_summary(values[training], clips.frames[training])
    if not summary.count.all():
        raise InputError(
            f"{one.name} has no value at all in some of its dimensions; drop it, or see why"
        )
    deviation = summary.standard_deviation
    constant = deviation <= 1e-9 * np.abs(summary.mean)
    if constant.all():
        raise InputError(f"{one.name} is {summary.mean[0]:g} everywhere: nothing to learn; drop it")
    deviation = np.where(constant, 1.0, deviation)
    return Target(one.name, one.source, weight, summary.mean, deviation), clips


def _weighted_summary(values: NDArray, frames: NDArray) -> Summary:
    """The summary of a value a clip (clips,), each as often as it has frames."""
    known = np.isfinite(values)
    values, frames = values[known], frames[known].astype(np.float64)
    count = frames.sum()
    mean = frames @ values / max(count, 1)
    squares = frames @ np.square(values - mean)
    return Summary(*(np.array([one]) for one in (count, mean, squares)))
