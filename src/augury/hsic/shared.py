"""What two pseudo-labels share: the unbiased, normalised HSIC of their values, as for relevance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augury.hsic.correlation import normalise, u_centred_sum_of_columns
from augury.hsic.factors import factor
from augury.hsic.kernels import Matrix, Values, label_kernel, median_distance, standardise

#: Largest 1 − ‖φ‖² of a factor's rows.
LEFT_OUT = 1e-6
#: Most columns of a factor.
MOST_COLUMNS = 256
#: Points of a pseudo-label whose kernel has no factor.
FEW_POINTS = 512


@dataclass(frozen=True)
class LabelColumns:
    """A pseudo-label's kernel on some points, L = Φ Φᵀ apart from its diagonal."""

    phi: Matrix  # (n, r); 0 where there is no value
    known: NDArray[np.bool_]  # (n,) the points with a value that Φ covers

    @classmethod
    def of(cls, z: Values, known: NDArray[np.bool_]) -> LabelColumns:
        """From values (n,), (n, dims) or codes of categories, of which some are known.

        Where the kernel has too many columns, Φ covers the first `FEW_POINTS` points.
        """
        rows = np.flatnonzero(known)
        if not len(rows):
            return cls(np.zeros((len(z), 0)), known)
        values = standardise(z[rows])
        width = median_distance(values)
        few = factor(values, width, LEFT_OUT, MOST_COLUMNS)
        if few is not None:
            columns: Matrix = few.columns(values)
        else:
            rows, values = rows[:FEW_POINTS], values[:FEW_POINTS]
            kernel: Matrix = label_kernel(values, width=width)
            # Unbiased sums ignore the diagonal, so that it can be made large enough.
            columns = np.linalg.cholesky(kernel + 1e-6 * np.eye(len(rows))).astype(np.float64)
        phi, covered = np.zeros((len(z), columns.shape[1])), np.zeros(len(z), bool)
        phi[rows], covered[rows] = columns, True
        return cls(phi, covered)

    def correlation_with(self, other: LabelColumns) -> float:
        """HSIC(Z, Z′) on the points where both are known; 0 if they are fewer than four.

        0 for independent values, 1 for the same ones, categories under other names included.

        >>> z, known = np.arange(9.0), np.ones(9, bool)
        >>> one, two = LabelColumns.of(z, known), LabelColumns.of(5 - 3 * z, known)
        >>> round(one.correlation_with(two), 6)
        1.0
        """
        both = self.known & other.known
        n = int(both.sum())
        if n < 4:
            return 0.0
        A, B = (label.phi[both] - label.phi[both].mean(axis=0) for label in (self, other))
        AB, AA, BB = (u_centred_sum_of_columns(*own) for own in ((A, B), (A, A), (B, B)))
        return normalise(AB, AA, BB, n)
