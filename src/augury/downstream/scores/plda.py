"""Are two embeddings of one speaker: length, LDA, cosine and PLDA scores, higher for likelier.

PLDA is the two-covariance model (Brümmer & de Villiers 2010, "The speaker partitioning problem"):

    y ~ N(μ, B) for each speaker,    x | y ~ N(y, W) for each of the speaker's vectors.

Their B and W are precisions; here they are covariances. V diagonalises both, VᵀWV = I and
VᵀBV = diag ψ: in the coordinates u = Vᵀ(x − μ) every dimension is a problem of its own.
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
    """(n, dims) vectors at length 1, which makes embeddings more Gaussian, as PLDA takes them.

    Garcia-Romero & Espy-Wilson 2011: subtract the training vectors' mean first. Zeros stay zero.
    """
    return unit_rows(np.asarray(x))


def cosine_scores(enrol: ArrayLike, test: ArrayLike) -> NDArray[np.floating]:
    """(n_enrol, n_test) cosines between (n_enrol, dims) and (n_test, dims) vectors, −1..1."""
    return normalise_length(enrol) @ normalise_length(test).T


def lda(x: ArrayLike, speaker: ArrayLike, *, dims: int) -> tuple[Matrix, Vector]:
    """Fisher's projection to `dims` directions: (x − mean) @ matrix separates the speakers best.

    The directions have the largest spread of the speakers' means, each as often as the speaker has
    vectors, per spread within speakers, which is 1 in each of them. The leading one comes first,
    the sign of each is such that its largest weight is positive.

    Where the spread within speakers is singular (fewer vectors than dimensions) it is shrunk toward
    the same in every dimension, by the share of Ledoit & Wolf 2004, the dimensions being scaled to
    a standard deviation of 1: not a minute ridge, with which the directions found are those in
    which the training vectors happen not to vary. A dimension that is constant has no weight.

    Args:
        x: (n, features).
        speaker: (n,) labels of any type that sorts.
        dims: at most one less than there are speakers.

    Returns:
        matrix (features, dims) and mean (features,).
    """
    x, codes = _check(x, speaker)
    x, mean = _centre(x)
    unit = x.std(axis=0)
    varies = unit > 0
    of = _Speakers.of(x[:, varies] / unit[varies], codes)
    if not of.residual.any():
        raise InputError(
            f"none of {len(of.n)} speakers has two vectors that differ, and how much they do is "
            "what directions are compared with; add recordings"
        )
    most = min(len(of.n) - 1, int(varies.sum()))
    if not 1 <= dims <= most:
        raise InputError(
            f"{dims} dims are asked of {len(of.n)} speakers and {varies.sum()} features that vary, "
            f"which have {most}; ask for 1 to {most}"
        )
    W = of.scatter / of.n.sum()
    if _rank(W, len(x)) < len(W):
        W = _shrink(W, of.residual)
    B = of.means.T @ (of.n * of.means) / of.n.sum()
    V = eigh(B, W)[1][:, ::-1][:, :dims]
    V *= np.where(V[np.abs(V).argmax(axis=0), np.arange(dims)] < 0, -1.0, 1.0)
    matrix = np.zeros((x.shape[1], dims))
    matrix[varies] = V / unit[varies, None]
    return matrix, mean


@dataclass(frozen=True, eq=False)
class Plda:
    """The two-covariance model of embeddings."""

    mean: Vector  # (dims,) μ
    B: Matrix  # (dims, dims) covariance between speakers, of any rank
    W: Matrix  # (dims, dims) covariance within a speaker, not singular

    @classmethod
    def fit(cls, x: ArrayLike, speaker: ArrayLike, *, iterations: int = 20) -> Plda:
        """The model of (n, dims) vectors with (n,) labels, toward its largest likelihood, by EM.

        No iteration lowers `log_likelihood`. The start is the means' spread for B, which is too
        large by what W adds to it, and the pooled covariance for W. There may be fewer speakers
        than dimensions, but the vectors must vary within speakers in every direction.
        """
        x, codes = _check(x, speaker)
        x, start = _centre(x)
        of = _Speakers.of(x, codes)
        S, N = len(of.n), of.n.sum()
        rank = _rank(of.scatter, len(x))
        if rank < len(of.scatter):
            raise InputError(
                f"within speakers the {len(x)} vectors vary in {rank} of {len(of.scatter)} "
                f"directions, and PLDA needs all: project them first (lda, at most {rank} dims), "
                "leave out features that are constant within a speaker, or add recordings"
            )
        mu = of.means.mean(axis=0)
        model = cls(mu, (of.means - mu).T @ (of.means - mu) / S, of.scatter / (N - S))
        for _ in range(iterations):
            V, psi = model._diagonal
            u = (of.means - model.mean) @ V  # (speakers, dims)
            y = of.n * psi / (of.n * psi + 1) * u  # each speaker's posterior mean
            C = psi / (of.n * psi + 1)  # and variances
            step = y.mean(axis=0)
            B = (y - step).T @ (y - step) / S + np.diag(C.mean(axis=0))
            W = V.T @ of.scatter @ V + (u - y).T @ (of.n * (u - y)) + np.diag((of.n * C).sum(0))
            back = V.T @ model.W  # the inverse of V
            B, W = (_symmetric(back.T @ one @ back) for one in (B, W / N))
            model = cls(model.mean + step @ back, B, W)
        return cls(model.mean + start, model.B, model.W)

    def score(self, enrol: ArrayLike, test: ArrayLike, *, counts: ArrayLike = 1) -> Matrix:
        """Natural-log likelihood ratios (n_enrol, n_test) of one speaker against two.

        By the book: with several vectors enrolled, the speaker's posterior narrows as it would if
        they were independent given the speaker. Recordings of one session are not: leave `counts`
        at 1 for them.

        Args:
            enrol: (n_enrol, dims), each the mean of as many vectors as `counts` says.
            test: (n_test, dims).
            counts: of vectors enrolled, (n_enrol,) or the same for all.
        """
        n = np.asarray(counts, np.float64)
        if not (n >= 1).all() or n.ndim > 1:
            raise InputError("counts are 1 or more vectors for each enrolment, (n_enrol,) of them")
        n = n[:, None] if n.ndim else n
        V, psi = self._diagonal
        u, t = (np.asarray(enrol) - self.mean) @ V, (np.asarray(test) - self.mean) @ V
        # t's density is N(a u, v) given u, N(0, 1 + ψ) of another speaker.
        a, v = n * psi / (n * psi + 1), 1 + psi / (n * psi + 1)
        own = np.log((1 + psi) / v) - np.square(a * u) / v
        squares = (1 / (1 + psi) - 1 / v) @ np.square(t).T
        return (a / v * u) @ t.T + squares / 2 + own.sum(axis=1, keepdims=True) / 2

    def log_likelihood(self, x: ArrayLike, speaker: ArrayLike) -> float:
        """Natural log of the density of (n, dims) vectors of (n,) speakers, which `fit` raises."""
        x, codes = _check(x, speaker, least=1)
        V, psi = self._diagonal
        of = _Speakers.of((x - self.mean) @ V, codes)
        N, dims = x.shape
        constant = N * (dims * np.log(2 * np.pi) + np.linalg.slogdet(self.W)[1])
        means = of.n * np.square(of.means) / (of.n * psi + 1) + np.log(of.n * psi + 1)
        return -float(constant + np.trace(of.scatter) + means.sum()) / 2

    @cached_property
    def _diagonal(self) -> tuple[Matrix, Vector]:
        """V (dims, dims) and ψ (dims,)."""
        psi, V = eigh(self.B, self.W)
        return V, np.maximum(psi, 0)


@dataclass(frozen=True)
class _Speakers:
    """Vectors about their mean, by speaker."""

    n: Matrix  # (speakers, 1) vectors of each
    means: Matrix  # (speakers, dims)
    residual: Matrix  # (vectors, dims) from their speaker's mean

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
        """(dims, dims) Σ of the residuals' outer products."""
        return self.residual.T @ self.residual


def _symmetric(a: Matrix) -> Matrix:
    return (a + a.T) / 2


def _centre(x: Matrix) -> tuple[Matrix, Vector]:
    """x less its mean, and the mean; of a constant dimension no rounding is left."""
    mean = x.mean(axis=0)
    centred = x - mean
    constant = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(x).max(axis=0)
    return np.where(constant, 0.0, centred), mean


def _rank(scatter: Matrix, n: int) -> int:
    """Of the scatter of n vectors, whatever the units of its dimensions."""
    unit = np.sqrt(np.diag(scatter))
    unit = np.where(unit > 0, unit, 1.0)
    values = np.linalg.eigvalsh(scatter / unit / unit[:, None])
    return int((values > max(n, len(values)) * np.finfo(np.float64).eps * values[-1]).sum())


def _shrink(S: Matrix, residual: Matrix) -> Matrix:
    """S = residualᵀ residual / n pulled toward the mean of its diagonal (Ledoit & Wolf 2004)."""
    n, even = len(residual), np.eye(len(S)) * np.trace(S) / len(S)
    distance = np.square(S - even).sum()
    noise = (np.square(np.square(residual).sum(axis=1)).mean() - np.square(S).sum()) / n
    # At least 1/n: the noise is estimated as 0 where all residuals are alike.
    share = min(1.0, max(1 / n, noise / distance)) if distance > 0 else 0.0
    return share * even + (1 - share) * S


def _check(x: ArrayLike, speaker: ArrayLike, *, least: int = 2) -> tuple[Matrix, NDArray[np.int64]]:
    """x in float64 and each vector's speaker as a code, counted from 0."""
    x, speaker = np.asarray(x, np.float64), np.asarray(speaker)
    if x.ndim != 2 or speaker.shape != x.shape[:1]:
        raise InputError(
            f"x has shape {x.shape} and speaker {speaker.shape}, but (n, dims) and (n,) are wanted"
        )
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x).all(axis=1)).sum())
        raise InputError(f"{bad} of {len(x)} vectors hold NaN or infinity; leave them out")
    speakers, codes = np.unique(speaker, return_inverse=True)
    if len(speakers) < least:
        raise InputError(
            f"there is {len(speakers)} speaker, but what tells speakers apart takes at least "
            f"{least} to be learned; add recordings of others"
        )
    if least > 1 and len(speakers) == len(x):
        raise InputError(
            f"each of {len(x)} speakers has one vector; how much one speaker varies takes some "
            "with two or more"
        )
    return x, codes
