"""The recogniser's encoder: the recurrence against a plain loop, and what padding must not do."""

import pytest

torch = pytest.importorskip("torch")

from augury.downstream.models.crdnn import Crdnn, LiGRU, Recurrence, max_pool_frames, stack_frames  # noqa: E402
from augury.learning.layers import mask, reversal  # noqa: E402

TINY = {"recurrent_layers": 2, "recurrent_units": 6, "dimensions": 10}
SHAPES = [
    {"channels": (3, 4), "convolutions": 2, "pools": (2, 2), "time_pool": 2},
    {"channels": (3,), "convolutions": 1, "pools": (3,), "time_pool": 4, "recurrent": "lstm"},
    {"channels": (), "time_pool": 3},
    {"channels": (), "time_pool": 1, "recurrent": "lstm"},
]


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def run_layer(layer, x, lengths):
    return layer(x, reversal(lengths, len(x)), mask(lengths, len(x)).T)


def plain_ligru(layer, x):
    """The layer on one utterance (frames, width), in eval mode: a direction and frame at a time."""
    directions = []
    for d, gates in enumerate(layer.norm(layer.inputs(x)).chunk(2, dim=-1)):
        (u_z, u_c), h, states = layer.recurrent[d].chunk(2, dim=-1), torch.zeros_like(gates[0]), []
        h = h[: layer.units]
        for gate in gates if d == 0 else gates.flip(0):
            of_z, of_c = gate.chunk(2)
            z = 1 / (1 + torch.exp(-(of_z + h @ u_z)))
            h = z * h + (1 - z) * (of_c + h @ u_c).clamp_min(0)
            states.append(h)
        directions.append(torch.stack(states if d == 0 else states[::-1]))
    return torch.cat(directions, dim=-1)


def test_two_frames_worked_by_hand():
    gates = torch.tensor([0.0, 2.0, 0.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 2)
    matrix = torch.tensor([[[0.0, 3.0]]], dtype=torch.float64)
    kept = torch.ones(1, 1, 1, dtype=torch.float64)
    # z is a half: 0 / 2 + 2 / 2 = 1, then 1 / 2 + (−1 + 3 · 1) / 2 = 1.5.
    assert Recurrence.apply(gates, matrix, kept).flatten().tolist() == [1.0, 1.5]
    # Nothing of a dropped candidate: 0, then 0.
    assert Recurrence.apply(gates, matrix, 0 * kept).flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("lengths", [(7, 1, 4), (1,), (1, 1), (5, 5)])
def test_ligru_equals_a_plain_loop(lengths):
    layer = LiGRU(5, 4).double().eval()
    layer.norm.running_mean.normal_()
    layer.norm.weight.data.normal_()
    x = torch.randn(max(lengths), len(lengths), 5, dtype=torch.float64)
    states = run_layer(layer, x, torch.tensor(lengths))
    for k, n in enumerate(lengths):
        # float64 sums in another order.
        torch.testing.assert_close(states[:n, k], plain_ligru(layer, x[:n, k]), rtol=0, atol=1e-12)


def test_reversing_time_swaps_the_directions():
    layer, other = LiGRU(5, 4).eval(), LiGRU(5, 4).eval()
    other.inputs.weight.data = layer.inputs.weight.data.roll(8, 0)
    other.recurrent.data = layer.recurrent.data.flip(0)
    x, n = torch.randn(6, 1, 5), torch.tensor([6])
    swapped = run_layer(other, x.flip(0), n).flip(0).roll(4, -1)
    # Rows of one product, in another order: float32 rounding.
    torch.testing.assert_close(run_layer(layer, x, n), swapped, rtol=0, atol=1e-6)


def test_gradients_of_the_recurrence():
    gates = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    matrix = (0.3 * torch.randn(2, 4, 8, dtype=torch.float64)).requires_grad_()
    kept = torch.nn.functional.dropout(torch.ones(2, 3, 4, dtype=torch.float64), 0.3)
    assert torch.autograd.gradcheck(
        lambda *inputs: Recurrence.apply(*inputs, kept), (gates, matrix)
    )


def test_gradients_of_a_padded_batch_equal_those_of_a_plain_loop():
    layer = LiGRU(3, 4).double().eval()
    x, lengths = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True), (6, 2)
    found = run_layer(layer, x, torch.tensor(lengths))
    ours = sum(found[:n, k].square().sum() for k, n in enumerate(lengths))
    theirs = sum(plain_ligru(layer, x[:n, k]).square().sum() for k, n in enumerate(lengths))
    inputs = (x, *layer.parameters())
    found, expected = (torch.autograd.grad(loss, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)  # float64, another order


def test_long_padding_keeps_states_and_gradients_finite():
    layer = LiGRU(3, 8)
    layer.recurrent.data *= 4  # without input the state would grow, some times over each frame
    lengths = torch.tensor([5, 3])
    states = run_layer(layer, torch.randn(400, 2, 3), lengths)
    assert torch.equal(states[5:, 0, :8], states[4, 0, :8].expand(395, 8))
    states[mask(lengths, 400).T].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_matrices_are_initialised_orthogonal():
    for direction in LiGRU(3, 5).recurrent.data:
        for matrix in direction.chunk(2, dim=-1):
            torch.testing.assert_close(matrix @ matrix.T, torch.eye(5), rtol=0, atol=1e-6)


def test_dropout_masks_are_the_same_at_all_frames():
    layer = LiGRU(3, 200, dropout=0.5)
    x, lengths = torch.randn(30, 2, 3), torch.tensor([30, 30])
    never = (run_layer(layer, x, lengths) == 0).all(0)  # (batch, 2 * units)
    assert (abs(never.float().mean(1) - 0.5) < 0.15).all()  # 400 units: six standard deviations
    forwards, backwards = never.chunk(2, dim=-1)
    assert not torch.equal(never[0], never[1])
    assert not torch.equal(forwards, backwards)
    layer.eval()
    assert torch.equal(run_layer(layer, x, lengths), run_layer(layer, x, lengths))
    assert (run_layer(layer, x, lengths) == 0).all(0).float().mean() < 0.1  # relu's own


def test_max_pooling_by_hand():
    x = torch.tensor([[-1.0, -2.0, -3.0, 9.0, 9.0], [1.0, 2.0, 4.0, 3.0, 0.5]])[..., None]
    inside = mask(torch.tensor([3, 5]), 5)
    pooled = max_pool_frames(x, inside, 2)[..., 0]
    assert pooled.tolist() == [[-1.0, -3.0, 0.0], [2.0, 4.0, 0.5]]  # neither a filler's 9 nor 0
    assert torch.equal(max_pool_frames(x, inside, 1), x * inside[..., None])
    assert stack_frames(x, inside, 2)[0].tolist() == [[-1.0, -2.0], [-3.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_lengths_are_rounded_up(pool):
    model = Crdnn(3, channels=(), time_pool=pool, **TINY).eval()
    lengths = torch.tensor([1, 2, 4, 5, 8, 9])
    encoded, pooled_lengths = model(torch.zeros(6, 10, 3), lengths)
    assert pooled_lengths.tolist() == [-(-n // pool) for n in lengths.tolist()]
    assert encoded.shape == (6, -(-10 // pool), model.width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [(9, 1, 4, 6), (1,), (1, 1)])
def test_a_padded_batch_equals_single_utterances(shape, lengths):
    model = Crdnn(8, **TINY, **shape).eval()
    frames, lengths = max(lengths) + 2, torch.tensor(lengths)
    x = torch.randn(len(lengths), frames, 8)
    encoded, pooled_lengths = model(x, lengths)
    for filler in (0.0, 1e4, torch.nan):
        filled = x.masked_fill(~mask(lengths, frames)[..., None], filler)
        assert torch.equal(model(filled, lengths)[0], encoded)
    for k, (n, m) in enumerate(zip(lengths.tolist(), pooled_lengths.tolist(), strict=True)):
        alone = model(x[k : k + 1, :n], lengths[k : k + 1])[0][0]
        # float32, summed in another order.
        torch.testing.assert_close(encoded[k, :m], alone, rtol=0, atol=1e-5)
        assert (encoded[k, m:] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_does_not_change_gradients_or_batch_statistics(shape):
    x, lengths, results = torch.randn(2, 12, 8), torch.tensor([5, 7]), []
    model = Crdnn(8, **TINY, **shape, dropout=0.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for frames, filler in ((7, 0.0), (12, 0.0), (12, 1e4)):
        model.load_state_dict(state)
        model.zero_grad()
        filled = x.masked_fill(~mask(lengths, 12)[..., None], filler)[:, :frames]
        model(filled, lengths)[0].square().sum().backward()
        statistics = {name: value.clone() for name, value in model.named_buffers()}
        results.append(statistics | {name: p.grad.clone() for name, p in model.named_parameters()})
    for other in results[1:]:
        # float32 in convolutions of other sizes; gradients are of the order of 10.
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[2], results[1], rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_reach_every_parameter_and_the_features(shape):
    model = Crdnn(8, **TINY, **shape)
    x = torch.randn(3, 10, 8, requires_grad=True)
    (model(x, torch.tensor([10, 5, 9]))[0] ** 3).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert x.grad[0].abs().sum() > 0
    assert (x.grad[1, 5:] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_single_frame_is_enough_to_train(shape):
    model = Crdnn(8, **TINY, **shape)
    encoded, lengths = model(torch.randn(1, 1, 8), torch.tensor([1]))
    assert lengths.tolist() == [1]
    assert encoded.isfinite().all()
    encoded.sum().backward()


def test_parameters_of_the_papers_model():
    """Of 24 bands, by hand; weights of one LiGRU: 4 · 512 · (inputs + 512 + 2)."""
    light = 2048 * (256 * 6 + 514) + 3 * 2048 * (1024 + 514)
    convolutions = 128 * (9 + 1) + 128 * (1152 + 1) + 256 * (1152 + 1) + 256 * (2304 + 1)
    norms = 2 * 2 * 24 * 128 + 2 * 2 * 12 * 256
    dense = 512 * (1024 + 3) + 512 * (512 + 3)
    model = Crdnn(24)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == light + convolutions + norms + dense
    assert model.width == 512


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="recurrent is 'gru', but must be 'ligru' or 'lstm'"):
        Crdnn(8, recurrent="gru")
    with pytest.raises(ValueError, match="shorter"):
        Crdnn(8, channels=(4, 4), pools=(2,), **TINY)


def test_wide_features_are_projected_first():
    torch.manual_seed(0)
    wide = Crdnn(200, channels=(), projection=5, time_pool=4, **TINY).eval()
    assert wide.recurrent[0].inputs.in_features == 4 * 5
    features, lengths = torch.randn(2, 11, 200), torch.tensor([11, 6])
    both, fewer = wide(features, lengths)
    assert fewer.tolist() == [3, 2]
    alone, _ = wide(features[1:, :6], lengths[1:])
    torch.testing.assert_close(both[1, :2], alone[0])
    with_blocks = Crdnn(8, channels=(4,), pools=(2,), projection=5, **TINY)
    assert with_blocks.projection is None  # convolutions choose what to keep themselves
