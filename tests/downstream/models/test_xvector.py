"""The x-vector network."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from augury.downstream.features import Batch  # noqa: E402
from augury.downstream.models import xvector  # noqa: E402
from augury.downstream.models.xvector import XVector  # noqa: E402
from augury.downstream.settings import SpeakerSettings  # noqa: E402
from augury.learning.layers import mask  # noqa: E402

SIZES = {"channels": (6, 8), "kernels": (3, 1), "dilations": (2, 1), "dimensions": 5}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("stride", [1, 2])
def test_an_embedding_does_not_depend_on_its_batch(stride):
    model = XVector(4, 3, SpeakerSettings(**SIZES, stride=stride)).eval()
    lengths = torch.tensor([12, 1, 7])
    x = torch.randn(3, 12, 4) * mask(lengths, 12)[..., None]
    embeddings = model(x, lengths)
    for k, n in enumerate(lengths.tolist()):
        alone = model(x[k : k + 1, :n], lengths[k : k + 1])[0]
        torch.testing.assert_close(embeddings[k], alone, rtol=0, atol=1e-5)
    wider = model(torch.nn.functional.pad(x, (0, 0, 0, 5)), lengths)
    torch.testing.assert_close(wider, embeddings, rtol=0, atol=1e-6)


def test_gradients_reach_every_parameter():
    model = XVector(4, 3, SpeakerSettings(**SIZES))
    lengths = torch.tensor([9, 8])
    batch = Batch(torch.empty(0), lengths, *(lengths,) * 3, np.arange(2),
                  {"speaker": torch.tensor([0, 2])})  # fmt: skip
    model.losses(torch.randn(2, 9, 4), batch)[0][0].backward()
    for name, parameter in model.named_parameters():
        if name not in ("embedding.bias",):  # the batch norm after it takes it away
            assert parameter.grad.abs().sum() > 0, name


def test_parameters_of_the_papers_model():
    model = XVector(80, 1211, SpeakerSettings.of("paper", "speaker"))
    assert [layer.out_channels for layer in model.layers] == [512, 512, 512, 512, 1500]
    assert model.embedding.in_features == 3000
    assert model.embedding.out_features == 512


def test_statistics_over_time_by_hand():
    """Of 1, 3 (and padding): mean 2, variance 1; of 4 alone: mean 4, variance 0."""
    x = torch.tensor([[[1.0, 3.0, 0.0]], [[4.0, 0.0, 0.0]]])
    pooled = xvector._pool_statistics(x, torch.tensor([2, 1]))
    expected = [[2, (1 + 1e-5) ** 0.5], [4, 1e-5**0.5]]
    torch.testing.assert_close(pooled, torch.tensor(expected))


def test_only_the_first_layer_strides_and_no_layer_loses_a_frame():
    model = XVector(4, 3, SpeakerSettings(**SIZES, stride=2))
    assert [layer.stride for layer in model.layers] == [(2,), (1,)]
    assert [layer.padding for layer in model.layers] == [(2,), (0,)]  # dilation · (kernel − 1) / 2
