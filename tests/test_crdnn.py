"""The recogniser's encoder: the recurrence against a plain loop, and what padding must not do."""

import pytest

torch = pytest.importorskip("torch")

from augury.downstream.crdnn import Crdnn, LiGRU, Recurrence, beside, largest  # noqa: E402
from augury.learning.encoder import mask, reversal  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def plain(layer, x):
    """One utterance (frames, width), frame by frame, each direction by itself; in eval mode."""
    gates = layer.norm(layer.inputs(x))
    units, outputs = layer.units, []
    for direction, gate in enumerate(gates.chunk(2, dim=-1)):
        h, found = torch.zeros(units, dtype=x.dtype), []
        order = range(len(x)) if direction == 0 else range(len(x) - 1, -1, -1)
        for t in order:
            sums = gate[t] + h @ layer.recurrent[direction]
            z, candidate = torch.sigmoid(sums[:units]), torch.relu(sums[units:])
            h = z * h + (1 - z) * candidate
            found.append(h)
        outputs.append(torch.stack(found if direction == 0 else found[::-1]))
    return torch.cat(outputs, dim=-1)


def applied(layer, x, lengths):
    inside = mask(lengths, len(x)).T
    return layer(x, reversal(lengths, len(x)), inside)


def test_a_frame_by_hand():
    gates = torch.tensor([[[[0.0, 2.0]], [[0.0, -1.0]]]], dtype=torch.float64)
    matrix = torch.tensor([[[0.0, 3.0]]], dtype=torch.float64)
    states = Recurrence.apply(gates, matrix, torch.ones(1, 1, 1, dtype=torch.float64))
    # z is a half; 0 / 2 + 2 / 2 = 1, then 1 / 2 + relu(-1 + 3) / 2.
    assert states.flatten().tolist() == [1.0, 1.5]


def test_as_a_plain_loop():
    layer = LiGRU(5, 4).double().eval()
    layer.norm.running_mean.normal_()
    lengths = torch.tensor([7, 1, 4])
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    found = applied(layer, x, lengths)
    for k, n in enumerate(lengths.tolist()):
        # Sums in another order.
        torch.testing.assert_close(found[:n, k], plain(layer, x[:n, k]), rtol=0, atol=1e-12)


def test_gradients():
    gates = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    matrix = (0.3 * torch.randn(2, 4, 8, dtype=torch.float64)).requires_grad_()
    kept = torch.rand(2, 3, 4, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(lambda *given: Recurrence.apply(*given, kept), (gates, matrix))


def test_dropped_units_are_the_same_at_all_frames():
    layer = LiGRU(3, 50, dropout=0.5)
    found = applied(layer, torch.randn(20, 2, 3), torch.tensor([20, 20]))
    never = (found == 0).all(0)
    assert 0.3 < never.float().mean() < 0.7
    assert not torch.equal(never[0], never[1])  # but other ones of other utterances


SIZES = {"recurrent_layers": 2, "recurrent_units": 6, "dimensions": 10}
SHAPES = [
    {"channels": (3, 4), "convolutions": 2, "pools": (2, 2), "time_pool": 2},
    {"channels": (), "time_pool": 3},
    {"channels": (), "time_pool": 1, "recurrent": "lstm"},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_padded_batch_is_each_utterance_alone(shape):
    model = Crdnn(8, **SIZES, **shape).eval()
    lengths = torch.tensor([9, 1, 4, 6])
    x = torch.randn(4, 9, 8)  # anything beyond an utterance
    encoded, found = model(x, lengths)
    pool = shape["time_pool"]
    assert found.tolist() == [-(-n // pool) for n in lengths.tolist()]
    assert encoded.shape == (4, -(-9 // pool), model.width)
    for k, n in enumerate(lengths.tolist()):
        alone, _ = model(x[k : k + 1, :n], lengths[k : k + 1])
        m = int(found[k])
        torch.testing.assert_close(encoded[k, :m], alone[0], rtol=0, atol=1e-5)
        assert not encoded[k, m:].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_of_a_batch_do_not_depend_on_padding(shape):
    model = Crdnn(8, **SIZES, **shape, dropout=0.0).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x, lengths, kept = torch.randn(2, 12, 8), torch.tensor([5, 7]), []
    for frames in (12, 7):
        model.load_state_dict(state)
        model(x[:, :frames], lengths)
        kept.append({name: value.clone() for name, value in model.named_buffers()})
    for name, value in kept[0].items():
        torch.testing.assert_close(value, kept[1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_reach_every_parameter(shape):
    model = Crdnn(8, **SIZES, **shape)
    model(torch.randn(3, 10, 8), torch.tensor([10, 8, 9]))[0].square().sum().backward()
    for name, one in model.named_parameters():
        assert one.grad.abs().sum() > 0, name


def test_merged_frames_are_the_largest_or_all_of_them():
    x, inside = torch.tensor([[[-1.0], [-2.0], [-3.0], [5.0]]]), mask(torch.tensor([3]), 4)
    assert largest(x, inside, 2).flatten().tolist() == [-1.0, -3.0]  # not what lies beyond
    assert beside(x, inside, 2).tolist() == [[[-1.0, -2.0], [-3.0, 0.0]]]
    assert largest(x, mask(torch.tensor([2]), 4), 2).flatten().tolist() == [-1.0, 0.0]


def test_a_state_that_grows_does_not_spoil_padding():
    """relu has no bound: through a long padding the state could become infinite, and 0 · ∞ NaN."""
    layer = LiGRU(3, 4)
    layer.recurrent.data *= 3.0
    x = torch.randn(300, 2, 3)
    applied(layer, x, torch.tensor([4, 5]))[:5].sum().backward()
    for name, one in layer.named_parameters():
        assert torch.isfinite(one.grad).all(), name
