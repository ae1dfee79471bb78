"""Whether two embeddings are of one speaker: LDA, and cosine and PLDA scores, higher is likelier.

PLDA is the two-covariance model (Brümmer & de Villiers 2010, "The speaker partitioning problem"):

    y ~ N(μ, B) for each speaker,    x | y ~ N(y, W) for each of the speaker's vectors.

Their B and W are precisions; here they are covariances. V diagonalises both, VᵀWV = I and
VᵀBV = diag ψ, so that the dimensions of u = Vᵀ(x − μ) are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from augury.errors import InputError
from augury.hsic.kernels import unit_rows

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def normalise_length(x: ArrayLike) -> NDArray[np.floating]:
    """Vectors (n, dims) divided by their length, which makes embeddings more Gaussian, for PLDA.

    Subtract the training vectors' mean first (Garcia-Romero & Espy-Wilson 2011). A zero vector
    stays zero.

    >>> normalise_length([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return unit_rows(np.asarray(x))


def cosine_scores(enrol: ArrayLike, test: ArrayLike) -> NDArray[np.floating]:
    """Cosines (n_enrol, n_test) of (n_enrol, dims) and (n_test, dims) vectors, −1..1.

    Higher is likelier to be one speaker; 0 with a zero vector.

    >>> cosine_scores([[1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).tolist()
    [[1.0, 0.0, -1.0]]
    """
    return normalise_length(enrol) @ normalise_length(test).T


def lda(x: ArrayLike, speaker: ArrayLike, *, dims: int) -> tuple[Matrix, Vector]:
    """Linear discriminant analysis: (x − mean) @ matrix separates the speakers best.

    The `dims` directions v maximise vᵀB v / vᵀW v, with B the covariance of the speakers' means,
    weighted by their numbers of vectors, and W the covariance within speakers; vᵀW v = 1. The best
    one comes first; the sign of each makes its largest weight positive.

    If W is singular (fewer vectors than dimensions), the dimensions are scaled to a standard
    deviation of 1 and W is shrunk toward a multiple of the identity by the share of Ledoit & Wolf
    2004. A tiny ridge instead would select directions in which the training vectors happen not to
    vary. A constant dimension has weight 0.

    Args:
        x: (n, features).
        speaker: (n,) labels of any sortable type.
        dims: at most the number of speakers − 1.

    Returns:
        matrix (features, dims) and mean (features,).

    Raises:
        InputError: shapes that do not fit, NaN or infinity, fewer than two speakers, no speaker
            with two different vectors, or more `dims` than there are.

    >>> x = [[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]]  # the speaker is in the first one
    >>> matrix, mean = lda(x + np.array([[0.1, 0], [-0.1, 0], [0.1, 0], [-0.1, 0]]), [0, 0, 1, 1],
    ...     dims=1)
    >>> mean.tolist(), bool(matrix[0, 0] > abs(matrix[1, 0]))
    ([1.0, 0.0], True)
    """
    x, codes = _check(x, speaker)
    x, mean = _centre(x)
    unit = x.std(axis=0)
    varies = unit > 0
    speakers = _Speakers.of(x[:, varies] / unit[varies], codes)
    n, means = speakers.n, speakers.means
    if not speakers.residual.any():
        raise InputError(
            f"none of {len(n)} speakers has two vectors that differ, so there is no variation "
            "within speakers to compare with; add recordings"
        )
    most = min(len(n) - 1, int(varies.sum()))
    if not 1 <= dims <= most:
        raise InputError(
            f"{dims} dims are asked of {len(n)} speakers and {varies.sum()} features that vary, "
            f"which have {most}; ask for 1 to {most}"
        )
    W = speakers.scatter / n.sum()
    if _rank(W, len(x)) < len(W):
        W = _shrink(W, speakers.residual)
    B = means.T @ (n * means) / n.sum()
    V = eigh(B, W)[1][:, ::-1][:, :dims]
    V *= np.where(V[np.abs(V).argmax(axis=0), np.arange(dims)] < 0, -1.0, 1.0)
    matrix = np.zeros((x.shape[1], dims))
    matrix[varies] = V / unit[varies, None]
    return matrix, mean


@dataclass(frozen=True, eq=False)
class Plda:
    """The two-covariance model of embeddings: fitted by `fit`, or given by its parameters.

    >>> rng = np.random.default_rng(0)
    >>> speaker = np.repeat(np.arange(50), 4)
    >>> x = 3 * rng.normal(size=(50, 2))[speaker] + rng.normal(size=(200, 2))
    >>> model = Plda.fit(x, speaker)
    >>> bool(model.score(x[:1], x[1:2]) > model.score(x[:1], -x[:1]))
    True
    """

    mean: Vector  # (dims,) μ
    B: Matrix  # (dims, dims) covariance between speakers, of any rank
    W: Matrix  # (dims, dims) covariance within a speaker, not singular

    @classmethod
    def fit(cls, x: ArrayLike, speaker: ArrayLike, *, iterations: int = 20) -> Plda:
        """The maximum-likelihood model of (n, dims) vectors with (n,) speaker labels, by EM.

        No iteration lowers `log_likelihood`. EM starts with W the pooled covariance within speakers
        and B the covariance of the speakers' means, which overestimates it. There may be fewer
        speakers than dimensions.

        Raises:
            InputError: as `lda`, or vectors that do not vary within speakers in every direction.
        """
        x, codes = _check(x, speaker)
        x, start = _centre(x)
        speakers = _Speakers.of(x, codes)
        n, means, scatter = speakers.n, speakers.means, speakers.scatter
        S, N = len(n), n.sum()
        rank = _rank(scatter, len(x))
        if rank < len(scatter):
            raise InputError(
                f"within speakers the {len(x)} vectors vary in {rank} of {len(scatter)} "
                f"directions, and PLDA needs all: project them first (lda, at most {rank} dims), "
                "leave out features that are constant within a speaker, or add recordings"
            )
        mu = means.mean(axis=0)
        model = cls(mu, (means - mu).T @ (means - mu) / S, scatter / (N - S))
        for _ in range(iterations):
            V, psi = model._diagonal
            u = (means - model.mean) @ V  # (speakers, dims)
            y = n * psi / (n * psi + 1) * u  # each speaker's posterior mean
            C = psi / (n * psi + 1)  # and variances
            step = y.mean(axis=0)
            B = (y - step).T @ (y - step) / S + np.diag(C.mean(axis=0))
            W = V.T @ scatter @ V + (u - y).T @ (n * (u - y)) + np.diag((n * C).sum(0))
            back = V.T @ model.W  # the inverse of V
            B, W = (_symmetric(back.T @ covariance @ back) for covariance in (B, W / N))
            model = cls(model.mean + step @ back, B, W)
        return cls(model.mean + start, model.B, model.W)

    def score(self, enrol: ArrayLike, test: ArrayLike, *, counts: ArrayLike = 1) -> Matrix:
        """Log-likelihood ratios (n_enrol, n_test) of the same speaker against different speakers.

        Natural logarithms; above 0 the same speaker is the likelier hypothesis.
        Several enrolled vectors are taken as independent given the speaker. Recordings of one
        session are not independent: leave `counts` at 1 for them.

        Args:
            enrol: (n_enrol, dims), each the mean of `counts` vectors.
            test: (n_test, dims).
            counts: number of enrolled vectors, (n_enrol,) or one for all.

        Raises:
            InputError: counts below 1.
        """
        n = np.asarray(counts, np.float64)
        if not (n >= 1).all() or n.ndim > 1:
            raise InputError(
                "counts must be 1 or more for each enrolment: (n_enrol,), or one number"
            )
        n = n[:, None] if n.ndim else n
        V, psi = self._diagonal
        u, t = (np.asarray(enrol) - self.mean) @ V, (np.asarray(test) - self.mean) @ V
        # The density of t is N(a u, v) given u for the same speaker, N(0, 1 + ψ) for another one.
        a, v = n * psi / (n * psi + 1), 1 + psi / (n * psi + 1)
        of_enrol = np.log((1 + psi) / v) - np.square(a * u) / v  # terms without t
        squares = (1 / (1 + psi) - 1 / v) @ np.square(t).T
        return (a / v * u) @ t.T + squares / 2 + of_enrol.sum(axis=1, keepdims=True) / 2

    def log_likelihood(self, x: ArrayLike, speaker: ArrayLike) -> float:
        """Log density (natural) of (n, dims) vectors of (n,) speakers: what `fit` maximises."""
        x, codes = _check(x, speaker, least=1)
        V, psi = self._diagonal
        speakers = _Speakers.of((x - self.mean) @ V, codes)
        n, (N, dims) = speakers.n, x.shape
        constant = N * (dims * np.log(2 * np.pi) + np.linalg.slogdet(self.W)[1])
        means = n * np.square(speakers.means) / (n * psi + 1) + np.log(n * psi + 1)
        return -float(constant + np.trace(speakers.scatter) + means.sum()) / 2

    @cached_property
    def _diagonal(self) -> tuple[Matrix, Vector]:
        """V (dims, dims) and ψ (dims,)."""
        psi, V = eigh(self.B, self.W)
        return V, np.maximum(psi, 0)


@dataclass(frozen=True)
class _Speakers:
    """Vectors of some speakers, which have been centred, as each speaker's mean and residuals."""

    n: Matrix  # (speakers, 1) number of vectors
    means: Matrix  # (speakers, dims)
    residual: Matrix  # (vectors, dims) less their speaker's mean

    @classmethod
    def of(cls, x: Matrix, codes: NDArray[np.int64]) -> _Speakers:
        order = np.argsort(codes, kind="stable")
        begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
        n = np.diff(begins, append=len(codes))[:, None].astype(np.float64)
        means = np.add.reduceat(x[order], begins, axis=0) / n
        residual = x - means[codes]
        rounding = np.abs(residual).max(axis=0) <= 1e-12 * np.abs(x).max(axis=0)
        return cls(n, means, np.where(rounding, 0.0, residual))

    @cached_property
    def scatter(self) -> Matrix:
        """The sum of the residuals' outer products (dims, dims)."""
        return self.residual.T @ self.residual


def _symmetric(a: Matrix) -> Matrix:
    return (a + a.T) / 2


def _centre(x: Matrix) -> tuple[Matrix, Vector]:
    """x less its mean, and the mean; a constant dimension becomes exactly 0."""
    mean = x.mean(axis=0)
    centred = x - mean
    constant = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(x).max(axis=0)
    return np.where(constant, 0.0, centred), mean


def _rank(scatter: Matrix, n: int) -> int:
    """The rank of the scatter of n vectors, independent of the dimensions' units."""
    unit = np.sqrt(np.diag(scatter))
    unit = np.where(unit > 0, unit, 1.0)
    values = np.linalg.eigvalsh(scatter / unit / unit[:, None])
    return int((values > max(n, len(values)) * np.finfo(np.float64).eps * values[-1]).sum())


def _shrink(S: Matrix, residual: Matrix) -> Matrix:
    """S = residualᵀ residual / n shrunk to the identity times its mean (Ledoit & Wolf 2004)."""
    n, target = len(residual), np.eye(len(S)) * np.trace(S) / len(S)
    distance = np.square(S - target).sum()
    noise = (np.square(np.square(residual).sum(axis=1)).mean() - np.square(S).sum()) / n
    # At least 1/n: where all residuals are equal, the noise is estimated as 0.
    share = min(1.0, max(1 / n, noise / distance)) if distance > 0 else 0.0
    return share * target + (1 - share) * S


def _check(x: ArrayLike, speaker: ArrayLike, *, least: int = 2) -> tuple[Matrix, NDArray[np.int64]]:
    """x in float64 and each vector's speaker as a code, counted from 0."""
    x, speaker = np.asarray(x, np.float64), np.asarray(speaker)
    if x.ndim != 2 or speaker.shape != x.shape[:1]:
        raise InputError(
            f"x has shape {x.shape} and speaker {speaker.shape}, but must be (n, dims) and (n,)"
        )
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x).all(axis=1)).sum())
        raise InputError(f"{bad} of {len(x)} vectors hold NaN or infinity; leave them out")
    speakers, codes = np.unique(speaker, return_inverse=True)
    if len(speakers) < least:
        raise InputError(
            f"there is {len(speakers)} speaker, but differences between speakers take at least "
            f"{least} to be estimated; add recordings of others"
        )
    if least > 1 and len(speakers) == len(x):
        raise InputError(
            f"each of {len(x)} speakers has one vector, but variation within speakers takes some "
            "with two or more; add recordings"
        )
    return x, codes
