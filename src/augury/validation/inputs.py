"""Checks of the arrays that statistics are computed from: estimates and errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.errors import InputError

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def check_pair(estimate: ArrayLike, error: ArrayLike) -> tuple[Vector, Vector]:
    """Estimates and errors (candidates,); InputError unless both can be ordered.

    >>> check_pair([1, 2], [0.5, 0.25])
    (array([1., 2.]), array([0.5 , 0.25]))
    """
    estimate, error = np.asarray(estimate, np.float64), np.asarray(error, np.float64)
    if estimate.ndim != 1 or estimate.shape != error.shape or not len(error):
        raise InputError(
            f"estimate has shape {estimate.shape} and error {error.shape}, but both must be "
            "(candidates,); pass one of each for every candidate"
        )
    for name, bad in (("estimate", np.isnan(estimate)), ("error", ~np.isfinite(error))):
        if bad.any():
            raise InputError(
                f"{name}: {bad.sum()} of {len(bad)} values can't be ordered (the first is of "
                f"candidate {bad.argmax()}); leave those candidates out"
            )
    return estimate, error


def check_errors(errors: ArrayLike) -> Matrix:
    """Errors (candidates, seeds), NaN where a run failed; InputError for another shape or inf.

    >>> check_errors([[1, 2], [3, float("nan")]]).shape
    (2, 2)
    """
    errors = np.asarray(errors, np.float64)
    if errors.ndim != 2:
        raise InputError(
            f"errors has shape {errors.shape}, but must be (candidates, seeds); a single seed is "
            "one column"
        )
    if np.isinf(errors).any():
        raise InputError("errors: some are infinite; a run that failed is NaN")
    return errors


def check_runs(errors: ArrayLike) -> Matrix:
    """As `check_errors`; InputError, too, if all runs of a candidate failed.

    >>> check_runs([[1, 2], [3, float("nan")]]).shape
    (2, 2)
    """
    errors = check_errors(errors)
    failed = np.isnan(errors).all(axis=1)
    if failed.any():
        raise InputError(
            f"errors: {failed.sum()} of {len(errors)} candidates have no run that succeeded (the "
            f"first is candidate {failed.argmax()}); leave them out"
        )
    return errors
