"""Weights that sum to 1 and minimise a function, from many starts at once.

Spectral projected gradients (Birgin, Martínez & Raydan 2000), each start with its own steps: one
call of the function serves all starts that still move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
#: Points (S, k) → values (S,) and slopes (S, k).
Function = Callable[[Matrix], tuple[Vector, Matrix]]

#: Factor of the ridge ‖W‖² in the softmax's objective, which is at most 1 at equal weights.
RIDGE = 2e-2
#: The weight of a single candidate where the softmax starts near it.
NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Ends:
    """Where each start ended."""

    weights: Matrix  # (S, k)
    values: Vector  # (S,) of what was minimised: with the ridge for the softmax
    converged: NDArray[np.bool_]  # (S,)


def minimise_on_simplex(
    function: Function, starts: Matrix, unit: float, *, steps: int, tolerance: float
) -> Ends:
    """The ends on the simplex itself, which sparsemax(W) reaches everywhere.

    `unit` is the size of the function's values. A start has converged where a step along the slope,
    in units of `unit`, moves no weight by `tolerance`.
    """
    points, values, converged = descend(
        function, starts, sparsemax, unit, steps=steps, tolerance=tolerance
    )
    return Ends(points, values, converged)


def minimise_softmax(
    function: Function, starts: Matrix, unit: float, *, steps: int, tolerance: float
) -> Ends:
    """The ends through softmax(W); its ridge keeps the best candidate from getting all weight."""
    weights = np.maximum(starts, (1 - NEARLY_ALL) / starts.shape[1])
    logs = np.log(weights / weights.sum(axis=1, keepdims=True))
    points, values, converged = descend(
        lambda W: through_softmax(function, W, unit),
        logs - logs.mean(axis=1, keepdims=True), lambda W: W, 1.0,
        steps=steps, tolerance=tolerance,
    )  # fmt: skip
    return Ends(softmax(points), values, converged)


def through_softmax(function: Function, W: Matrix, unit: float) -> tuple[Vector, Matrix]:
    """The function of softmax(W) divided by `unit`, plus the ridge; and its derivatives by W."""
    weights = softmax(W)
    values, slopes = function(weights)
    by_W = weights * (slopes - (weights * slopes).sum(axis=1, keepdims=True))
    return values / unit + RIDGE * np.square(W).sum(axis=1), by_W / unit + 2 * RIDGE * W


def descend(
    function: Function,
    starts: Matrix,
    project: Callable[[Matrix], Matrix],
    unit: float,
    *,
    steps: int,
    tolerance: float,
) -> tuple[Matrix, Vector, NDArray[np.bool_]]:
    """Points (S, k) where each start ends, the values there, and which have converged.

    No value is above that of its start.
    """
    x = np.array(starts, np.float64)
    values, slopes = function(x)
    lengths = 0.1 / np.maximum(np.abs(slopes).max(axis=1), 1e-12 * unit)
    moves = project(x - lengths[:, None] * slopes) - x
    shares = np.ones(len(x))  # of the move that is tried next

    def stationary(k: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.abs(project(x[k] - slopes[k] / unit) - x[k]).max(axis=1) < tolerance

    done = stationary(np.arange(len(x)))
    for _ in range(steps):
        moving = np.flatnonzero(~done)
        if not len(moving):
            break
        new = x[moving] + shares[moving, None] * moves[moving]
        new_values, new_slopes = function(new)
        along = (slopes[moving] * moves[moving]).sum(axis=1)
        lower = new_values <= values[moving] + 1e-4 * shares[moving] * along
        stuck = moving[~lower]
        shares[stuck] /= 2
        done[stuck] |= shares[stuck] < 1e-6
        moved = moving[lower]
        step, bend = new[lower] - x[moved], new_slopes[lower] - slopes[moved]
        curvature = (step * bend).sum(axis=1)
        squares = np.square(step).sum(axis=1)
        spectral = squares / np.where(curvature > 0, curvature, 1.0)
        lengths[moved] = np.where(curvature > 0, spectral, 10 * lengths[moved])
        gain = values[moved] - new_values[lower]
        x[moved], values[moved], slopes[moved] = new[lower], new_values[lower], new_slopes[lower]
        moves[moved] = project(x[moved] - lengths[moved, None] * slopes[moved]) - x[moved]
        shares[moved] = 1.0
        done[moved] = stationary(moved) | (gain < 1e-8 * unit)
    return x, values, done


def sparsemax(W: ArrayLike) -> Matrix:
    """The point of the simplex nearest to each row of W (Martins & Astudillo 2016).

    >>> sparsemax([1.0, 0.8, -1.0]).round(2).tolist()
    [0.6, 0.4, 0.0]
    """
    points = np.asarray(W, np.float64)
    ordered = -np.sort(-points, axis=-1)
    sums = np.cumsum(ordered, axis=-1) - 1
    k = np.arange(1, len(points.T) + 1)
    last = np.sum(ordered * k > sums, axis=-1, keepdims=True)
    threshold = np.take_along_axis(sums, last - 1, axis=-1) / last
    return np.maximum(points - threshold, 0.0)


def softmax(W: Matrix) -> Matrix:
    """exp(W) of each row, divided by its sum."""
    powers = np.exp(W - W.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
