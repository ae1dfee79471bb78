"""Pooling of segments against a plain loop, and what a classification is worth."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from augury.downstream.features import Batch  # noqa: E402
from augury.downstream.settings import ClassifySettings  # noqa: E402
from augury.downstream.tasks.classify import Probe, pool_statistics  # noqa: E402
from augury.downstream.tasks.task import classification_losses  # noqa: E402


def make_batch(row, first, stop, lengths, **targets):
    tensors = [torch.tensor(values) for values in (lengths, row, first, stop)]
    named = {name: torch.tensor(values) for name, values in targets.items()}
    return Batch(torch.empty(0), *tensors, np.arange(len(row)), named)


def plain_pooling(x, parts):
    """Mean and standard deviation of (frames, width) in equal parts."""
    pooled = []
    for k in range(parts):
        begin = k * len(x) // parts
        piece = x[begin : max((k + 1) * len(x) // parts, begin + 1)]
        pooled += [piece.mean(0), (piece.var(0, unbiased=False) + 1e-8).sqrt()]
    return torch.cat(pooled)


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_pooling_equals_a_plain_loop(parts):
    torch.manual_seed(0)
    features = torch.randn(2, 12, 4, dtype=torch.float64)
    row, first, stop = [0, 0, 1, 1], [0, 3, 2, 7], [3, 12, 7, 8]  # 3, 9, 5 and 1 frames
    pooled = pool_statistics(features, make_batch(row, first, stop, [12, 9]), parts)
    for k, (r, a, b) in enumerate(zip(row, first, stop, strict=True)):
        torch.testing.assert_close(
            pooled[k], plain_pooling(features[r, a:b], parts), rtol=0, atol=1e-12
        )


def test_pooling_is_precise_for_small_variation():
    """The difference of two large sums would lose it."""
    features = 1e4 + torch.tensor([[[0.0], [0.1], [0.2]]])
    pooled = pool_statistics(features, make_batch([0], [0], [3], [3]))
    assert float(pooled[0, 1]) == pytest.approx(0.0816, abs=2e-3)  # float32 has 1e-3 there


def test_cross_entropy_and_errors_by_hand():
    scores = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    sums, counts = classification_losses(scores, torch.tensor([0, 1, 0]))
    expected = np.log(1 + np.exp(-2)) + np.log(2) + np.log(1 + np.exp(3))
    assert sums.tolist() == pytest.approx([expected, 2.0])  # a tie goes to the first
    assert counts.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("hidden", [0, 6])
def test_gradients_reach_every_parameter_and_one_segment_is_enough(hidden):
    torch.manual_seed(0)
    model = Probe(3, 4, ClassifySettings(label="x", hidden=hidden, parts=2))
    features = torch.randn(2, 9, 3)
    several = make_batch([0, 1, 1], [0, 0, 4], [9, 4, 9], [9, 9], **{"class": [0, 3, 1]})
    model.losses(features, several)[0][0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    single = make_batch([0], [0], [9], [9, 9], **{"class": [2]})
    assert torch.isfinite(model.losses(features, single)[0]).all()
