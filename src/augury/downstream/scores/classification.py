"""How well classes are recognised: confusion matrix, accuracy and F1 from codes of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augury.errors import InputError

Counts = NDArray[np.int64]


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """Confusion matrix (classes, classes): counts of each true class (row) and predicted (column).

    `truth` and `predicted` are (n,) integer codes, 0 to classes − 1; any other is an InputError.

    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    truth, predicted = _check_codes(truth, predicted)
    for name, codes in (("truth", truth), ("predicted", predicted)):
        if codes.min() < 0 or codes.max() >= classes:
            raise InputError(
                f"{name} has codes from {codes.min()} to {codes.max()}, but {classes} classes are "
                f"0 to {classes - 1}"
            )
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """The share of right predictions, 0..1, higher is better; (n,) integer codes of classes.

    >>> accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.75
    """
    truth, predicted = _check_codes(truth, predicted)
    return float((truth == predicted).mean())


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """The mean over the classes in `truth` of their recall, 0..1, higher is better.

    Recall is the share of a class's segments that are predicted right; chance is 1 / classes. A
    class that occurs in `predicted` only has no recall of its own. InputError if `truth` has one
    class only.

    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    truth, predicted = _check_codes(truth, predicted)
    codes = _class_places("balanced accuracy", truth)
    return float((np.bincount(codes, truth == predicted) / np.bincount(codes)).mean())


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """The mean over classes of F1 = 2 · right / (true + predicted), 0..1, higher is better.

    Over the classes in `truth` or `predicted`; one that is in only one of them has F1 = 0.
    InputError if `truth` has one class only.

    >>> round(macro_f1([0, 0, 0, 1], [0, 0, 0, 0]), 3)
    0.429
    """
    truth, predicted = _check_codes(truth, predicted)
    _class_places("macro F1", truth)
    n, codes = len(truth), np.unique(np.concatenate([truth, predicted]), return_inverse=True)[1]
    right = np.bincount(codes[:n], truth == predicted, minlength=codes.max() + 1)
    return float((2 * right / np.bincount(codes)).mean())


def _class_places(name: str, truth: Counts) -> Counts:
    """Codes (n,) of the true classes, renumbered from 0; there must be at least two classes."""
    classes, codes = np.unique(truth, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"all {len(truth)} points are of class {classes[0]}, for which {name} has no meaning; "
            "evaluate on points of at least two classes"
        )
    return codes


def _check_codes(truth: ArrayLike, predicted: ArrayLike) -> tuple[Counts, Counts]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    for name, codes in (("truth", truth), ("predicted", predicted)):
        if codes.ndim != 1 or not len(codes):
            raise InputError(f"{name} has shape {codes.shape}, but (points,) is wanted, and points")
        if codes.dtype.kind not in "iu":
            raise InputError(f"{name} is {codes.dtype}, but integer codes of classes are wanted")
    if len(truth) != len(predicted):
        raise InputError(f"{len(truth)} points have a truth, but {len(predicted)} are predicted")
    return truth.astype(np.int64), predicted.astype(np.int64)
