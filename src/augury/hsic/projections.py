# pyright: reportConstantRedefinition=false
"""Kernels of many points by their leading columns, K ≈ AAᵀ and L ≈ BBᵀ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from augury.compute import RunTasks
from augury.embeddings import Embeddings, Indices
from augury.hsic.factors import Factor
from augury.hsic.kernels import Matrix, Values, Vector, label_kernel, spaced_points
from augury.hsic.moments import as_numpy, leading_eigenvectors, unit_speech
from augury.hsic.sums import LARGEST_MATRIX

#: Share of a kernel's squared norm, and so of the variance under independence, that tests ignore.
LEFT_OUT = 1e-4
#: Bytes of a factor's columns in memory at once.
PHI_BYTES = 64e6
#: Rows projected at a time.
BLOCK = 1024


def project_speech(
    x: Embeddings, rows: Indices, origin: Vector, vectors: Matrix, run: RunTasks
) -> tuple[Values, Vector]:
    """Unit rows less an origin, times vectors (d, few), and their squared lengths (n,)."""
    parts = list(run(x, _project_tasks(rows, origin, vectors)))
    projected, squares = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return projected, squares


def _project_tasks(rows: Indices, origin: Vector, vectors: Matrix) -> Iterator[tuple[Any, ...]]:
    for begin in range(0, len(rows), BLOCK):
        yield _project, rows[begin : begin + BLOCK], origin, vectors


def _project(
    x: Embeddings, rows: Indices, origin: Vector, vectors: Matrix
) -> tuple[Matrix, Vector]:
    U = as_numpy(unit_speech(x, rows, origin))
    return U @ vectors.astype(U.dtype), np.vecdot(U, U).astype(np.float64)


def leading_columns(kernel: Matrix, left_out: float) -> Matrix:
    """Columns C with CCᵀ equal to the kernel up to `left_out` of its squared norm."""
    vectors, values = leading_eigenvectors(kernel, left_out)
    return vectors * np.sqrt(np.maximum(values, 0))


def label_columns(z: Values, factor: Factor, left_out: float) -> tuple[Matrix, Vector, float]:
    """A pseudo-label's kernel by its factor, centred.

    Returns:
        The leading columns B, the kernel's diagonal, and its squared norm.
    """
    size = max(BLOCK, int(PHI_BYTES / 8 / len(factor)))
    if len(z) <= size:
        phi = factor.columns(z)
        phi -= phi.mean(axis=0)
        gram: Matrix = phi.T @ phi
        vectors, _ = leading_eigenvectors(gram, left_out)
        return phi @ vectors, np.vecdot(phi, phi), float(np.vdot(gram, gram))
    blocks = [slice(begin, begin + size) for begin in range(0, len(z), size)]
    mean: Vector = np.asarray(sum(factor.columns(z[own]).sum(axis=0) for own in blocks)) / len(z)
    gram = np.zeros((len(factor), len(factor)))
    for own in blocks:
        phi = factor.columns(z[own]) - mean
        gram += phi.T @ phi
    vectors, _ = leading_eigenvectors(gram, left_out)
    columns, diagonal = np.empty((len(z), vectors.shape[1])), np.empty(len(z))
    for own in blocks:
        phi = factor.columns(z[own]) - mean
        columns[own], diagonal[own] = phi @ vectors, np.vecdot(phi, phi)
    return columns, diagonal, float(np.vdot(gram, gram))


def nystrom(z: Values, width: float) -> Factor:
    """Leading columns of a kernel of high rank, from spaced points (Williams and Seeger 2001)."""
    if z.dtype.kind in "iu" and z.ndim == 1:
        codes = np.unique(z)
        return Factor(codes, 1.0, np.eye(len(codes)))
    points = z[np.sort(spaced_points(z, LARGEST_MATRIX))]
    values, vectors = np.linalg.eigh(label_kernel(points, width=width))
    kept = values > 1e-6 * values[-1]
    transform = vectors[:, kept] / np.sqrt(values[kept])
    return Factor(points, float(np.sqrt(2) * width), transform)
