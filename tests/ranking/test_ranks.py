import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from augury.ranking.ranks import average_ranks, redundancy


def test_equal_values_share_the_mean_of_their_ranks():
    assert average_ranks(np.array([7.0, -1.0, 7.0, 9.0, 7.0])).tolist() == [3, 1, 3, 5, 3]
    values = np.random.default_rng(0).integers(0, 9, 50) / 7
    assert average_ranks(values).tolist() == rankdata(values).tolist()
    assert average_ranks(np.empty(0)).tolist() == []


def test_redundancy_of_pairs():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(30)
    b = a + rng.standard_normal(30)
    b[:5] = np.nan
    both = spearmanr(a[5:], b[5:]).statistic
    kind, vector, flat = rng.integers(0, 3, 30), rng.standard_normal((30, 2)), np.ones(30)
    table = redundancy([a, b, kind, vector, flat, None, np.exp(a)])
    assert table[0][1] == table[1][0] == pytest.approx(both)
    assert table[0][6] == 1
    assert all(table[k][j] is None for k in (2, 3, 4, 5) for j in range(7))


@pytest.mark.parametrize(("common", "known"), [(2, False), (3, True)])
def test_redundancy_needs_three_common_values(common, known):
    a, b = np.arange(8.0), np.arange(8.0)
    b[common:] = np.nan
    assert (redundancy([a, b])[0][1] is not None) is known


def test_what_is_constant_where_both_are_known_has_no_correlation():
    a, b = np.array([1.0, 1.0, 1.0, 2.0, 3.0]), np.arange(5.0)
    b[3:] = np.nan
    assert redundancy([a, b]) == ((1.0, None), (None, 1.0))


@pytest.mark.parametrize("block", [7, 8192])
def test_redundancy_equals_spearman_of_each_pair_whatever_is_missing(block):
    rng = np.random.default_rng(1)
    columns = rng.integers(0, 12, (9, 60)) + rng.standard_normal(60).round(1)
    for k, gap in enumerate([0, 0, 5, 5, 20, 30]):
        columns[k, rng.permutation(60)[:gap]] = np.nan
    columns[3, :] = np.where(np.isnan(columns[2]), np.nan, np.nan_to_num(columns[3]))
    columns[7, 11] = np.inf  # it has a rank
    table = redundancy(list(columns), block=block)
    for i, a in enumerate(columns):
        for j, b in enumerate(columns):
            both = ~(np.isnan(a) | np.isnan(b))
            left, right = rankdata(a[both]), rankdata(b[both])
            # Sums of whole numbers are exact: the last division and root are all that rounds.
            assert table[i][j] == pytest.approx(np.corrcoef(left, right)[0, 1], rel=0, abs=1e-15)
            assert table[i][j] == table[j][i]
