# SciPy has no types:
# pyright: reportMissingTypeStubs=false
"""Fixed-size embeddings of speech segments, without training.

Every function takes the frames of one recording (or of many, concatenated) and the frame range of
each segment in them, so that segments are views and a recording is decoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from augury.errors import InputError

Floats = NDArray[np.floating]


def gaussian_downsample(
    mel: Floats, first: ArrayLike, stop: ArrayLike, *, parts: int = 20, width: float = 0.07
) -> Floats:
    """Each segment as `parts` Gaussian averages of its frames (paper, section 2).

    The segment is divided into equal parts; each gives a weighted mean of all the segment's frames
    around the part's centre. Segments with fewer frames than parts, even a single one, are allowed.

    Args:
        mel: (frames, bands) log-mel spectrogram.
        first: (segments,) each segment's first frame.
        stop: (segments,) the frame after its last frame.
        parts: N of the paper.
        width: standard deviation of the Gaussian, as a fraction of the segment's length.

    Returns:
        (segments, parts, bands), in the type of `mel`.
    """
    return _weight_frames(mel, first, stop, lambda frames: _gaussian(frames, parts, width), parts)


def released_downsample(
    mel: Floats,
    first: ArrayLike,
    stop: ArrayLike,
    *,
    parts: int = 10,
    width: float = 0.07,
    slope: float = 0.1,
) -> Floats:
    """Gaussian downsampling as in the authors' released code, for comparison with its numbers.

    Centres run from the first frame to the last instead of over the centres of parts, the standard
    deviation grows by `slope` frames per part toward the middle, and a weight is the area under the
    Gaussian over a frame's width. `parts` must be even, as the recipe is not defined otherwise.
    Arguments and result as in `gaussian_downsample`.
    """
    if parts % 2:
        raise InputError(
            f"parts is {parts}, but the released recipe is defined for even numbers only"
        )
    return _weight_frames(
        mel, first, stop, lambda frames: _released_weights(frames, parts, width, slope), parts
    )


def svcca(mel: Floats, first: ArrayLike, stop: ArrayLike, *, directions: int = 20) -> Floats:
    """Each segment as the subspace of its leading singular directions.

    SVCCA (Raghu et al. 2017) compares two segments by the canonical correlations of their leading
    singular subspaces, with mel bands as observations, as in the paper's robustness check. The
    authors averaged the correlations ρ; we average ρ², the inner product of the two projection
    matrices: with these matrices as embeddings the cosine kernel equals this similarity, is
    positive definite, and works with every engine. The order of frames is lost.

    Args:
        mel, first, stop: as in `gaussian_downsample`.
        directions: number of singular directions (fewer if a segment has fewer frames).

    Returns:
        (segments, bands·(bands+1)/2): upper triangles of the projections, off-diagonal × √2.
    """
    first, bands = np.asarray(first), mel.shape[1]
    rows, columns = np.triu_indices(bands)
    scale = np.where(rows == columns, 1.0, np.sqrt(2.0))
    result = np.empty((len(first), len(rows)), mel.dtype)
    for frames, chosen in _by_length(first, stop, more=bands):
        block = mel[first[chosen, None] + np.arange(frames)].astype(np.float64)
        block -= block.mean(axis=2, keepdims=True)
        _, strength, basis = np.linalg.svd(block, full_matrices=False)
        kept = strength[:, :directions] > 1e-6 * strength[:, :1]
        basis = basis[:, :directions] * kept[:, :, None]
        projection = basis.transpose(0, 2, 1) @ basis
        result[chosen] = projection[:, rows, columns] * scale
    return result


def _weight_frames(
    mel: Floats,
    first: ArrayLike,
    stop: ArrayLike,
    weights: Callable[[int], NDArray[np.float64]],
    parts: int,
) -> Floats:
    first, stop = np.asarray(first), np.asarray(stop)
    if len(first) and (stop - first).min() < 1:
        raise InputError("a segment has no frame; leave it out before embedding")
    bands = mel.shape[1]
    result = np.empty((len(first), parts, bands), mel.dtype)
    for frames, chosen in _by_length(first, stop):
        matrix = weights(frames).astype(mel.dtype)
        if len(chosen) == 1:
            start = first[chosen[0]]
            result[chosen[0]] = matrix @ mel[start : start + frames]
        else:  # one product for all segments of this length
            stacked = mel[first[chosen] + np.arange(frames)[:, None]].reshape(frames, -1)
            result[chosen] = (matrix @ stacked).reshape(parts, -1, bands).transpose(1, 0, 2)
    return result


def _by_length(
    first: ArrayLike, stop: ArrayLike, *, more: int = 0
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(frames, indices of the segments with so many), in blocks that bound the memory.

    `more`: rows of bands that a segment needs in memory beside its frames.
    """
    lengths = np.asarray(stop) - np.asarray(first)
    order = np.argsort(lengths, kind="stable")
    values, begins = np.unique(lengths[order], return_index=True)
    for frames, group in zip(values, np.split(order, begins[1:]), strict=True):
        block = max(1, 200_000 // (int(frames) + more))
        for begin in range(0, len(group), block):
            yield int(frames), group[begin : begin + block]


@lru_cache(maxsize=4096)
def _gaussian(frames: int, parts: int, width: float) -> NDArray[np.float64]:
    centres = (np.arange(parts) + 0.5) / parts
    positions = (np.arange(frames) + 0.5) / frames
    exponent = -((positions - centres[:, None]) ** 2) / (2 * width**2)
    # A softmax over frames, so that a narrow Gaussian between two frames is not 0 / 0.
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=4096)
def _released_weights(frames: int, parts: int, width: float, slope: float) -> NDArray[np.float64]:
    centres = np.linspace(0, frames - 1, parts)
    climb = np.minimum(np.arange(parts), np.arange(parts)[::-1])
    sd = frames * width + slope * climb
    edges = np.arange(frames + 1) - 0.5
    areas = np.diff(ndtr((edges - centres[:, None]) / sd[:, None]), axis=1)
    return areas / areas.sum(axis=1, keepdims=True)
