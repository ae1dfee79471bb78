import numpy as np
import pytest

from augury.hsic import projections
from augury.hsic.factors import factor


def test_columns_are_the_same_block_by_block(monkeypatch):
    rng = np.random.default_rng(2)
    counts = rng.multinomial(20, rng.dirichlet(np.ones(30)), 2500).astype(np.uint8)
    own = factor(counts, 1.0, 1e-6)
    assert own is not None
    whole = projections.label_columns(counts, own, 1e-4)
    monkeypatch.setattr(projections, "PHI_BYTES", 1)
    blocks = projections.label_columns(counts, own, 1e-4)
    np.testing.assert_allclose(blocks[0] @ blocks[0].T, whole[0] @ whole[0].T, atol=1e-12)
    np.testing.assert_allclose(blocks[1], whole[1], atol=1e-12)
    assert blocks[2] == pytest.approx(whole[2], rel=1e-12)
