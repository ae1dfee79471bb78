"""The definitions (Zaiem et al. 2021, eqs. 1–4), dense and as written: `engine="exact"`.

K and L are the kernels of the speech and of a pseudo-label among the n points of a class c, both
(n, n). Every other engine gives the same numbers faster; docs/estimator.md derives how.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]


def cosine_kernel(x: ArrayLike) -> Matrix:
    """K (eqs. 1, 2): cosines of the flattened embeddings (n, …); 0 for a row of zeros."""
    X = np.asarray(x, np.float64).reshape(len(np.asarray(x)), -1)
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    U = X / np.where(lengths > 0, lengths, 1)
    return U @ U.T


def rbf_kernel(z: ArrayLike, width: float) -> Matrix:
    """L (eqs. 1, 2): exp(−‖z − z′‖² / 2σ²); of integers 1 or 0, or cosines of (n, classes)."""
    z = np.asarray(z)
    if z.dtype.kind in "iu":
        return (z[:, None] == z).astype(np.float64) if z.ndim == 1 else cosine_kernel(z)
    squares = np.square(z[:, None] - z).reshape(len(z), len(z), -1).sum(axis=2)
    return np.exp(-squares / (2 * width**2))


def hsic(K: Matrix, L: Matrix) -> float:
    """tr(K H L H) / n² (eq. 3), with H = I − 11ᵀ/n."""
    n = len(K)
    H = np.eye(n) - 1 / n
    return float(np.trace(K @ H @ L @ H)) / n**2


def conditional_hsic(x: ArrayLike, z: ArrayLike, y: ArrayLike, *, width: float = 0.05) -> float:
    """HSIC(X, Z | Y) = Σ_c (n_c / n) · HSIC(K_c, L_c) (eq. 4); lower is better.

    >>> conditional_hsic(x=np.eye(2), z=[0.0, 0.05], y=[0, 0])  # (1 − exp(−½)) / 4
    0.0983673...
    """
    x, z, y = map(np.asarray, (x, z, y))
    classes = [(y == c) for c in np.unique(y)]
    values = [hsic(cosine_kernel(x[c]), rbf_kernel(z[c], width)) for c in classes]
    return float(np.mean(classes, axis=1) @ values)


def unbiased_hsic(K: Matrix, L: Matrix) -> float:
    """The U-statistic of HSIC (Song et al. 2012, eq. 5); n ≥ 4."""
    A, B = (M - np.diag(np.diag(M)) for M in (K, L))
    n, a, b = len(K), A.sum(axis=0), B.sum(axis=0)
    terms = np.vdot(A, B) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a @ b) / (n - 2)
    return float(terms) / (n * (n - 3))


def normalised_hsic(*classes: tuple[Matrix, Matrix]) -> float:
    """Σ n HSICu(K, L) / √(Σ n HSICu(K, K) · Σ n HSICu(L, L)) over classes; 0 if one is constant."""
    KL = sum(len(K) * unbiased_hsic(K, L) for K, L in classes)
    KK, LL = (sum(len(own[i]) * unbiased_hsic(own[i], own[i]) for own in classes) for i in (0, 1))
    return float(KL / np.sqrt(KK * LL)) if min(KK, LL) > 1e-14 else 0.0
