"""The method as plain loops in float64: slow, obvious, and sharing no code with the package."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np


def cosine(a, b):
    dot = sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    norms = math.sqrt(sum(float(p) ** 2 for p in a)) * math.sqrt(sum(float(q) ** 2 for q in b))
    return dot / norms if norms else 0.0


def rbf(a, b, width):
    return math.exp(-math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * width**2))


def matrix(points, kernel):
    return [[kernel(a, b) for b in points] for a in points]


def centred_trace(K, L, by):
    """tr(K H L H) with H = I − 11ᵀ/by, multiplied out."""
    n = len(K)
    H = [[(i == j) - 1 / by for j in range(n)] for i in range(n)]

    def times(A, B):
        return [
            [math.fsum(A[i][k] * B[k][j] for k in range(n)) for j in range(n)] for i in range(n)
        ]

    product = times(times(times(K, H), L), H)
    return math.fsum(product[i][i] for i in range(n))


def groups(x, z, y):
    found = defaultdict(lambda: ([], []))
    for a, b, c in zip(x, z, y, strict=True):
        found[c][0].append(a)
        found[c][1].append(b)
    return [found[c] for c in sorted(found)]


def paper(x, z, y, width=0.05):
    """Eqs. 1–4."""
    total = 0.0
    for xs, zs in groups(x, z, y):
        K, L = matrix(xs, cosine), matrix(zs, lambda a, b: rbf(a, b, width))
        total += len(xs) * centred_trace(K, L, len(xs)) / len(xs) ** 2
    return total / len(y)


def released(x, z, y):
    """The released code's arithmetic."""
    scores = []
    for xs, zs in groups(x, z, y):
        n = len(xs)
        if n <= 3:
            scores.append(0.0)
            continue
        K, L = matrix(xs, cosine), matrix(zs, lambda a, b: rbf(a, b, math.sqrt(0.05)))
        scores.append(centred_trace(K, L, n**2) / (n - 1) ** 2)
    return sum(scores) / len(scores)


def unbiased(K, L):
    """The U-statistic as its definition: a mean over all quadruples of different points."""
    n = len(K)
    total, count = 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += K[i][j] * (L[i][j] + L[q][r] - 2 * L[i][q])
                        count += 1
    return total / count


def correlation(K, L):
    return unbiased(K, L) / math.sqrt(unbiased(K, K) * unbiased(L, L))


def u_centred(A):
    """A without its diagonal, less its rows' and columns' means (Székely, Rizzo 2014)."""
    n = len(A)
    A = A - np.diag(np.diag(A))
    rows = A.sum(axis=1) / (n - 2)
    A = A - rows[:, None] - rows + A.sum() / ((n - 1) * (n - 2))
    return A - np.diag(np.diag(A))


def robust(x, z, y):
    """Mean embedding subtracted, standardised z, median width over pairs that differ, pooled."""
    places = range(len(x[0]))
    mean = [math.fsum(row[d] for row in x) / len(x) for d in places]
    x = [[row[d] - mean[d] for d in places] for row in x]
    dims = range(len(z[0]))
    means = [math.fsum(row[d] for row in z) / len(z) for d in dims]
    sds = [math.sqrt(math.fsum((row[d] - means[d]) ** 2 for row in z) / len(z)) for d in dims]
    z = [[(row[d] - means[d]) / sds[d] for d in dims] for row in z]
    distances = sorted(
        d for i in range(len(z)) for j in range(i) if (d := math.dist(z[i], z[j])) > 0
    )
    half = len(distances) // 2
    width = distances[half] if len(distances) % 2 else (distances[half - 1] + distances[half]) / 2
    KL = KK = LL = 0.0
    for xs, zs in groups(x, z, y):
        if len(xs) < 4:
            continue
        K, L = matrix(xs, cosine), matrix(zs, lambda a, b: rbf(a, b, width))
        KL += len(xs) * unbiased(K, L)
        KK += len(xs) * unbiased(K, K)
        LL += len(xs) * unbiased(L, L)
    return KL / math.sqrt(KK * LL)


def gaussian_downsample(mel, parts, width):
    frames, bands = len(mel), len(mel[0])
    result = []
    for k in range(parts):
        centre = (k + 0.5) / parts
        weights = [
            math.exp(-(((t + 0.5) / frames - centre) ** 2) / (2 * width**2)) for t in range(frames)
        ]
        total = math.fsum(weights)
        result.append(
            [
                math.fsum(w * float(mel[t][b]) for t, w in enumerate(weights)) / total
                for b in range(bands)
            ]
        )
    return result


def released_downsample(mel, parts, width, slope):
    frames, bands = len(mel), len(mel[0])

    def cdf(value):
        return 0.5 * (1 + math.erf(value / math.sqrt(2)))

    result = []
    for k in range(parts):
        centre = k * (frames - 1) / (parts - 1)
        sd = frames * width + slope * min(k, parts - 1 - k)
        weights = [
            cdf((t + 0.5 - centre) / sd) - cdf((t - 0.5 - centre) / sd) for t in range(frames)
        ]
        total = math.fsum(weights)
        result.append(
            [
                math.fsum(w * float(mel[t][b]) for t, w in enumerate(weights)) / total
                for b in range(bands)
            ]
        )
    return result


def exact_hsic(x, z, width, *, category=False):
    """n² times eq. 3 of one class, with 50 digits."""
    from mpmath import exp, fsum, mp, mpf, sqrt

    mp.dps = 50
    n = len(x)
    x = [[mpf(v) for v in row] for row in x]
    z = [[mpf(v) for v in (row if isinstance(row, list) else [row])] for row in z]
    lengths = [sqrt(fsum(v * v for v in row)) for row in x]

    def cos(i, j):
        dot = fsum(a * b for a, b in zip(x[i], x[j], strict=True))
        return dot / (lengths[i] * lengths[j]) if lengths[i] and lengths[j] else mpf(0)

    def like(i, j):
        if category:
            return mpf(z[i] == z[j])
        squared = fsum((a - b) ** 2 for a, b in zip(z[i], z[j], strict=True))
        return exp(-squared / (2 * mpf(width) ** 2))

    K = [[cos(i, j) for j in range(n)] for i in range(n)]
    L = [[like(i, j) for j in range(n)] for i in range(n)]
    means = [fsum(row) / n for row in K]
    mean = fsum(means) / n
    return float(
        fsum((K[i][j] - means[i] - means[j] + mean) * L[i][j] for i in range(n) for j in range(n))
    )
