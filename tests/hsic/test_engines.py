import importlib.util
from dataclasses import replace
from functools import partial

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from augury.compute import threads
from augury.embeddings import OnDevice
from augury.hsic import engines, factors
from augury.hsic.kernels import label_kernel, unit_rows
from augury.hsic.sums import SumPlan

import oracles


def speech(n, d=9, seed=0, dtype=np.float64):
    return (np.random.default_rng(seed).standard_normal((n, d)) + 1).astype(dtype)


def u_centred(A):
    """The definition (Székely and Rizzo 2014, eq. 2.1)."""
    n = len(A)
    A = A - np.diag(np.diag(A))
    rows_, total = A.sum(axis=1) / max(n - 2, 1), A.sum() / max((n - 1) * (n - 2), 1)
    return (A - rows_[:, None] - rows_ + total) * (1 - np.eye(n))


def expected(x, z, width):
    """All sums from matrices."""
    n = len(x)
    X = unit_rows(np.asarray(x, np.float64))
    L = label_kernel(z, width=width)
    H = np.eye(n) - 1 / n
    K, HLH = H @ X @ X.T @ H, H @ L @ H
    a, b = np.diag(K), np.diag(HLH)
    KU, LU = u_centred(K), u_centred(HLH)
    skew = lambda A: np.trace(A @ A @ A) / max(np.square(A).sum(), 1e-30) ** 1.5  # noqa: E731
    return {
        "KL": np.vdot(K, L),
        "LL": np.square(HLH).sum(),
        "ab": a @ b,
        "bb": b @ b,
        "b": b.sum(),
        "L": L.sum() - n,
        "skew": skew(HLH),
        "each_KL": (KU * LU).sum(axis=1),
        "each_ab": a * b,
        "each_LL": (LU * LU).sum(axis=1),
        "a": a.sum(),
        "aa": a @ a,
        "KK": np.square(K).sum(),
        "K skew": skew(K),
        "each_KK": (KU * KU).sum(axis=1),
    }


LABELS = {
    "unit range": lambda rng, n: rng.random(n),
    "Gaussian": lambda rng, n: rng.standard_normal(n),
    "zeros and hertz": lambda rng, n: np.where(rng.random(n) < 0.5, 0, rng.normal(200, 70, n)),
    "an outlier": lambda rng, n: np.where(np.arange(n) == 3, 1e6, rng.standard_normal(n)),
    "few values": lambda rng, n: rng.integers(0, 4, n) / 3,
    "vectors": lambda rng, n: rng.standard_normal((n, 3)),
    "categories": lambda rng, n: rng.integers(0, 7, n),
}
ENGINES = ["dense", "factored", "strips"]


def sums_of_classes(engine, x, groups, zs, widths, **choices):
    plan = SumPlan.of(zs, widths, 1000, tolerance=1e-9, engine=engine, **choices)
    plan = replace(plan, chunk=50, tile=50, strip=30)  # several tasks a class
    return engines.class_sums_of(x, groups, zs, plan, whole=True, run=threads.run_in_threads)


@pytest.mark.parametrize("n", [1, 2, 5, 60, 300])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("width", [0.05, 1.0])
def test_every_engine_equals_the_sums_of_matrices(n, engine, width):
    rng = np.random.default_rng(1)
    x = speech(2 * n)
    groups = [np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)]
    zs = [make(rng, 2 * n) for make in LABELS.values()]
    results, _ = sums_of_classes(engine, x, groups, zs, [width] * len(zs), norms=True, points=True)
    for one, own in zip(results, groups, strict=True):
        for pair, z, name in zip(one.pairs, zs, LABELS, strict=True):
            wanted = expected(x[own], z[own], width)
            if engine == "strips" and wanted["LL"] < 1e-11 * n**2:
                assert pair.LL < 1e-11 * n**2  # as good as constant
                continue
            # Float64 sums of n² entries of order 1, some of which cancel.
            close = {"rel": 1e-8, "abs": 1e-10 * n}
            for key in ("KL", "LL", "ab", "b", "bb", "L"):
                assert getattr(pair, key) == pytest.approx(wanted[key], **close), (name, key)
            assert 0 <= pair.error < 1e-6 * max(abs(wanted["KL"]), 1e-3), name
            by_strips = engine == "strips" or (
                engine == "factored" and factors.factor(z, width, 1e-12) is None
            )
            if not by_strips and n > 2:  # there both are approximations, as said there
                for key in ("each_KL", "each_LL"):
                    # Columns of 1e-9 of the norm are left out: of a hundred times that share of b.
                    close = {"rtol": 1e-7, "atol": 3e-7 * np.abs(wanted[key]).max() + 1e-9}
                    assert np.allclose(getattr(pair, key), wanted[key], **close), (name, key)
                assert pair.skew == pytest.approx(wanted["skew"], rel=1e-6), name
        assert one.speech.a == pytest.approx(wanted["a"], rel=1e-9, abs=1e-12)
        assert one.speech.aa == pytest.approx(wanted["aa"], rel=1e-9, abs=1e-12)
        assert one.speech.KK == pytest.approx(wanted["KK"], rel=1e-9, abs=1e-12)
        assert np.allclose(one.speech.each_KK, wanted["each_KK"], rtol=1e-9, atol=1e-12)
        if n > 2:
            assert one.speech.skew == pytest.approx(wanted["K skew"], rel=1e-9)


@pytest.mark.parametrize("n", [2, 60, 300])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_released_code_s_slip_in_centring(n, engine):
    rng = np.random.default_rng(1)
    x = speech(n)
    zs = [make(rng, n) for make in LABELS.values()]
    ((one,), _) = sums_of_classes(
        engine, x, [np.arange(n)], zs, [0.3] * len(zs), slip=True, points=True
    )
    X = unit_rows(x)
    X -= X.mean(axis=0) / n
    K = X @ X.T
    assert one.speech.a == pytest.approx(np.trace(K), rel=1e-9)
    for pair, z in zip(one.pairs, zs, strict=True):
        KL = K * label_kernel(z, width=0.3)
        assert pair.KL == pytest.approx(KL.sum(), rel=1e-9)
        assert np.allclose(pair.each_KL, KL.sum(axis=1) - np.diag(KL), rtol=1e-9, atol=1e-11)
        assert np.allclose(pair.each_ab, np.diag(KL), rtol=1e-9)


@pytest.mark.parametrize("engine", ["dense", "factored"])
def test_the_classes_together_are_one_class_of_all(engine):
    x, rng = speech(150), np.random.default_rng(1)
    groups = np.split(rng.permutation(150), [60, 90])
    z = rng.random(150)
    plan = SumPlan.of([z], [0.3], 1000, tolerance=1e-9, engine="factored", norms=True)
    plan = replace(plan, engine=engine, chunk=50)
    _, together = engines.class_sums_of(
        x, groups, [z], plan, whole=True, run=threads.run_in_threads
    )
    of_speech, (pair,), _ = engines.sums_from_moments(together, plan)
    wanted = expected(x, z, 0.3)
    for key in ("KL", "LL", "ab", "b", "bb", "L"):
        assert getattr(pair, key) == pytest.approx(wanted[key], rel=1e-9)
    assert of_speech.KK == pytest.approx(wanted["KK"], rel=1e-9)


def test_work_is_cut_by_the_points_alone():
    """Into chunks of a size, or of a 16th of the points if that is more."""

    def sizes(n, size):
        chunks = engines._chunks(n, size)
        assert [c.start for c in chunks[1:]] == [c.stop for c in chunks[:-1]]
        assert (chunks[0].start, chunks[-1].stop) == (0, n)
        return [c.stop - c.start for c in chunks]

    assert sizes(4, 4) == [4]
    assert sizes(10, 4) == [4, 4, 2]
    assert sizes(32, 1) == [2] * 16
    assert sizes(33, 1) == [3] * 11


@pytest.mark.parametrize("whole", [False, True])
def test_only_scored_classes_are_passed_over_twice(whole):
    """Other points count in the moments of all, and nowhere else."""
    rng = np.random.default_rng(0)
    x, z = speech(130), rng.random(130)
    groups, others = [np.arange(100), np.arange(100, 110)], [np.arange(110, 130)]
    own = factors.factor(z, 0.3, 1e-12)
    plan = SumPlan((0.3, 0.3), (own, None), "factored", norms=True, points=True, chunk=50, strip=50)
    names = []

    def run(x, tasks):
        tasks = list(tasks)
        names.extend(function.__name__ for function, *_ in tasks)
        return threads.run_in_threads(x, tasks)

    sums, together = engines.class_sums_of(
        x, groups, [z, z], plan, whole=whole, run=run, others=others
    )
    assert len(sums) == 2
    assert names.count("sum_moments") == 3 + whole
    assert names.count("strip_sums") == 2 + 1
    assert names.count("point_sums") == 2 + 1
    assert (together.n if together else None) == (130 if whole else None)


def test_the_approximations_of_strips_are_near():
    rng = np.random.default_rng(0)
    n = 1500
    x, z = speech(n), 40 * rng.random(n)
    plan = SumPlan((0.05,), (None,), norms=True, points=True)
    ((one,), _) = engines.class_sums_of(
        x, [np.arange(n)], [z], plan, whole=False, run=threads.run_in_threads
    )
    exact = expected(x, z, 0.05)
    pair = one.pairs[0]
    for key in ("each_KL", "each_LL"):
        assert np.corrcoef(getattr(pair, key), exact[key])[0, 1] > 0.999
    assert np.allclose(pair.each_LL, exact["each_LL"], rtol=0.05, atol=0.05 * exact["LL"] / n)


def test_a_label_that_hardly_varies_in_one_class_is_still_right():
    rng = np.random.default_rng(0)
    n = 2000
    z = np.concatenate([rng.random(n), 0.5 + 1e-4 * rng.random(n)])
    x = speech(2 * n)
    groups = [np.arange(n), np.arange(n, 2 * n)]
    plan = SumPlan.of([z], [0.05], n, tolerance=1e-6)
    (_, flat), _ = engines.class_sums_of(
        x, groups, [z], plan, whole=False, run=threads.run_in_threads
    )
    exact = expected(x[n:], z[n:], 0.05)["KL"]
    # Entries of L are 1 − 1e-6: ten digits of the factor's sixteen are left, squared.
    assert flat.pairs[0].KL == pytest.approx(exact, rel=1e-6)


def test_float32_speech_is_as_good_as_its_own_rounding():
    rng = np.random.default_rng(3)
    n = 2000
    x = speech(n, d=50)
    zs = [rng.random(n), 80 * rng.random(n)]
    everything = [np.arange(n)]
    for engine in ENGINES:
        both = [
            sums_of_classes(engine, x.astype(dtype), everything, zs, [0.05, 0.05])[0][0].pairs
            for dtype in (np.float32, np.float64)
        ]
        for single, double in zip(*both, strict=True):
            assert single.KL == pytest.approx(double.KL, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_bit_does_not_depend_on_the_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x = speech(9000, d=30, dtype=dtype)
    zs = [rng.random(9000), 300 * rng.random(9000), rng.standard_normal((9000, 2))]
    groups = [np.arange(7000), np.arange(7000, 8950), np.arange(8950, 9000)]
    plan = SumPlan.of(zs, [0.05, 0.05, 0.5], 7000, tolerance=1e-6, norms=True, points=True)
    results = []
    for count in (1, 2, 4):
        run = partial(threads.run_in_threads, count=count)
        with threadpool_limits(count):
            found_, _ = engines.class_sums_of(x, groups, zs, plan, whole=True, run=run)
        results.append(
            [
                [one.speech.KK, one.speech.each_KK.tobytes(), *(p.KL for p in one.pairs)]
                + [p.each_KL.tobytes() for p in one.pairs]
                for one in found_
            ]
        )
    assert results[0] == results[1] == results[2]


# ------------------------------------------------------------------- other arrays, other shapes


class Strict:
    """Rows as arrays that can do nothing but what the array API says."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        return array_api_strict.asarray(self.x[rows])


def test_only_the_array_api_is_used_and_torch_gives_the_same():
    rng = np.random.default_rng(0)
    n = 1500
    x = speech(n, d=20, dtype=np.float32)
    zs = [make(rng, n) for make in LABELS.values()]
    groups = [np.arange(1200), np.arange(1200, 1300), np.arange(1300, n)]
    plan = SumPlan.of(zs, [0.3] * len(zs), n, tolerance=1e-6, norms=True, points=True)
    kinds = [Strict(x)]
    if importlib.util.find_spec("torch"):
        kinds.append(OnDevice(x, "cpu"))
    plain, together = engines.class_sums_of(
        x, groups, zs, plan, whole=True, run=threads.run_in_threads
    )
    for kind in kinds:
        results, also = engines.class_sums_of(
            kind, groups, zs, plan, whole=True, run=threads.run_in_threads
        )
        # Float32 products of other block sizes, summed in another order: measured, 4e-7.
        assert np.allclose(also.gram, together.gram, rtol=0, atol=2e-6 * together.gram.max())
        for one, other in zip(results, plain, strict=True):
            assert one.speech.KK == pytest.approx(other.speech.KK, rel=2e-6)
            for pair, same in zip(one.pairs, other.pairs, strict=True):
                assert pair.KL == pytest.approx(same.KL, rel=2e-6)
                assert pair.LL == pytest.approx(same.LL, rel=1e-9)
                scale = np.abs(same.each_KL).max()
                assert np.allclose(pair.each_KL, same.each_KL, atol=1e-5 * scale)


POINTS = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=n, max_size=n),
        st.lists(st.floats(-2, 2) | st.sampled_from([0.0, 1.0]), min_size=n, max_size=n),
    )
)


@settings(max_examples=80, deadline=None)
@given(
    POINTS,
    st.sampled_from(list(ENGINES)),
    st.sampled_from([np.float32, np.float64, np.float16, np.int32]),
    st.sampled_from([1.0, 1e-30, 1e30]),
    st.sampled_from([0.05, 0.7, 30.0]),
    st.sampled_from(["scalar", "vector", "category"]),
)
def test_every_engine_is_eq_3_in_many_digits(points, engine, dtype, scale, width, kind):
    """Against mpmath with 50 digits: duplicates, zeros, constants, one point, huge and tiny x."""
    x, z = (np.array(part, np.float64) for part in points)
    x = x.astype(dtype) * (dtype(scale) if dtype in (np.float32, np.float64) else dtype(1))
    z = {"scalar": z, "vector": np.stack([z, z**2], axis=1), "category": z.round().astype(int)}[
        kind
    ]
    rows_ = [np.arange(len(x))]
    ((one,), _) = sums_of_classes(engine, x, rows_, [z], [width], norms=True)
    wanted = oracles.exact_hsic(x.tolist(), z.tolist(), width, category=kind == "category")
    # Sums of at most 144 products of entries up to 1, in the speech's precision, centred.
    digits = 1e-14 if dtype in (np.float64, np.int32) else 2e-7
    assert one.pairs[0].KL == pytest.approx(wanted, rel=1e-9, abs=144 * digits)
