import math

import numpy as np
import pytest

from augury import audio, pseudolabels, read_corpus
from augury.extraction.plan import Plan
from augury.pretraining.prepare import prepare
from augury.pretraining.settings import EncoderSettings, PretrainSettings
from augury.pretraining.targets import Target

import toy

torch = pytest.importorskip("torch")

from augury.pretraining.workers import (  # noqa: E402
    MAX_PREDICTED_FRAMES,
    ClipBatch,
    PretrainingModel,
    Worker,
    context_offsets,
    neighbour_indices,
    read_batch,
)

TINY = {"channels": [2], "convolutions": 1, "pools": [8], "recurrent_layers": 1,
        "recurrent_units": 3, "dense_layers": 1, "dimensions": 6}  # fmt: skip


def target(name, dims=1, categories=(), mean=None):
    mean = np.zeros(dims) if mean is None else np.array(mean)
    return Target(name, name, 1.0, mean, np.ones(len(mean)), tuple(categories))


def model(*targets, **choices):
    settings = PretrainSettings.from_dict({"encoder": TINY} | choices, {})
    torch.manual_seed(0)
    return PretrainingModel(settings, [target("mel", 80), target("mfcc", 40), *targets])


def batch(lengths, **labels):
    torch.manual_seed(1)
    mel = torch.randn(len(lengths), max(lengths), 80)
    return ClipBatch(mel, torch.tensor(lengths), labels)


def test_absolute_error_against_a_plain_loop():
    rng = np.random.default_rng(0)
    worker = Worker(4, target("z", 3))
    predicted = torch.tensor(rng.standard_normal((10, 3)), dtype=torch.float32)
    values = rng.standard_normal((10, 3)).astype(np.float32)
    values[2], values[5, 1] = np.nan, np.nan
    total, count = worker.loss(predicted, torch.from_numpy(values))
    errors = [
        abs(float(predicted[i, k]) - values[i, k])
        for i in range(10)
        for k in range(3)
        if not np.isnan(values[i, k])
    ]
    assert float(total) == pytest.approx(sum(errors) / 3, rel=1e-6)
    assert float(count) == pytest.approx(len(errors) / 3)


def test_squared_error_and_cross_entropy_worked_by_hand():
    speech = Worker(4, target("mel", 2))
    total, count = speech.loss(
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    )
    assert (float(total), float(count)) == (4.0, 2)  # (0 + 4) / 2 + (0 + 4) / 2
    category = Worker(4, target("c", categories=("a", "b"), mean=(0.5, 0.5)))
    total, count = category.loss(torch.zeros(3, 2), torch.tensor([0, -1, 1]))
    assert (float(total), int(count)) == (pytest.approx(2 * math.log(2)), 2)


def test_a_frame_without_value_gives_no_gradient():
    worker = Worker(4, target("z"))
    predicted = torch.zeros(3, 1, requires_grad=True)
    total, count = worker.loss(predicted, torch.tensor([[1.0], [np.nan], [1.0]]))
    total.backward()
    assert predicted.grad is not None
    assert predicted.grad.flatten().tolist() == [-1, 0, -1]
    assert count == 2


def test_losses_of_a_padded_batch_are_those_of_its_clips():
    """Padded frames never count: in no loss, and in nothing that a loss depends on."""
    lengths = [12, 7, 3]
    z = torch.randn(22, 1)
    together = batch(lengths, z=z)
    network = model(target("z")).eval()
    sums, counts = network(together)
    assert counts.tolist() == [22, 22, 22]
    alone, first = torch.zeros(3), 0
    for row, n in enumerate(lengths):
        clip = ClipBatch(
            together.mel[row : row + 1, :n], torch.tensor([n]), {"z": z[first : first + n]}
        )
        alone += network(clip)[0]
        first += n
    # float32 sums in another order.
    np.testing.assert_allclose(sums.detach(), alone.detach(), rtol=1e-5)


def test_speech_is_its_own_target():
    network = model()
    data = batch([5, 2])
    inside = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    targets = network.target_values(data, inside)
    frames = torch.cat([data.mel[0], data.mel[1, :2]])
    assert torch.equal(targets["mel"], frames)  # mean 0, standard deviation 1
    expected = frames @ torch.from_numpy(audio.cepstral_basis(80, 40).copy())
    np.testing.assert_allclose(targets["mfcc"], expected, atol=1e-6)


def test_a_target_of_weight_0_has_no_worker():
    settings = PretrainSettings.from_dict({"encoder": TINY, "mfcc": 0.0}, {})
    mfcc = Target("mfcc", "mfcc", 0.0, np.zeros(40), np.ones(40))
    network = PretrainingModel(settings, [target("mel", 80), mfcc, target("z")])
    assert [worker.name for worker in network._workers] == ["mel", "z"]
    with pytest.raises(ValueError, match="nothing to predict"):
        PretrainSettings.from_dict({"mel": 0, "mfcc": 0}, {})


def test_gradients_reach_every_parameter():
    network = model(target("z"), target("c", categories=("a", "b"), mean=(0.5, 0.5))).train()
    sums, counts = network(batch([9, 4], z=torch.randn(13, 1), c=torch.randint(0, 2, (13,))))
    (sums / counts).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_constant_guess_losses_worked_by_hand():
    z = torch.tensor([[0.0]] * 6 + [[3.0]] * 4)
    codes = torch.tensor([0] * 8 + [1] * 2)
    network = model(target("z"), target("c", categories=("a", "b"), mean=(0.8, 0.2)))
    data = batch([10], z=z, c=codes)
    sums, counts = network.constant_guess_losses(data)
    mel = float(data.mel.square().mean())
    by_hand = [mel, None, 1.2, -0.8 * math.log(0.8) - 0.2 * math.log(0.2)]
    for value, expected in zip((sums / counts).tolist(), by_hand, strict=True):
        assert expected is None or value == pytest.approx(expected, rel=1e-5)
    sums, counts = network.constant_guess_losses(data, {"z": torch.tensor([3.0])})
    assert float(sums[2] / counts[2]) == pytest.approx(1.8)


def test_a_batch_concatenates_its_clips(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(toy.__file__.rpartition("/")[0])
    names = {"toy:level": 1.0, "toy:bands": 1.0, "column:colour": 1.0}
    settings = PretrainSettings.of("small", names, validation="0")
    candidates = pseudolabels.parse_candidates(list(names))
    plan = Plan.of(candidates, tmp_path / "store", unvoiced="published", mel=True)
    prepared = prepare(read_corpus(toy.corpus(tmp_path)), plan, settings, jobs=1)
    data = read_batch(prepared.clips, prepared.targets, np.array([4, 0]))
    level = prepared.targets[2]
    first = 0
    for row, clip in enumerate((4, 0)):
        mel, values = prepared.clips.read(clip)
        n = len(mel)
        assert int(data.lengths[row]) == n
        np.testing.assert_array_equal(data.mel[row, :n], mel)
        expected = (values["toy:level"] - level.mean) / level.standard_deviation
        np.testing.assert_allclose(
            data.labels["toy:level"][first : first + n, 0], expected, rtol=1e-6
        )
        np.testing.assert_array_equal(
            data.labels["column:colour"][first : first + n], values["column:colour"]
        )
        first += n
    assert data.labels["toy:bands"].shape == (first, 3)


def test_settings_are_restored_from_their_dict():
    settings = PretrainSettings.from_dict({"encoder": TINY}, {"F0": 2.0})
    again = PretrainSettings.from_dict(
        {k: v for k, v in settings.to_dict().items() if k != "pseudo_labels"}, {"F0": 2.0}
    )
    assert again == settings
    assert isinstance(again.encoder, EncoderSettings)


def test_targets_are_not_rounded_by_autocast():
    network, data = model(target("z")).eval(), batch([12, 7], z=torch.randn(19, 1))
    data.mel = 30 * data.mel - 60
    plain = network(data)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(data)[0]
    # The prediction is in bfloat16, 3 digits; of targets in it, the mean alone would be off by 0.1.
    np.testing.assert_allclose(rounded.detach(), plain.detach(), rtol=1e-3)


def test_context_offsets_are_evenly_spaced_and_include_0():
    assert context_offsets(0) == (0,)
    assert context_offsets(2) == (-2, -1, 0, 1, 2)
    assert context_offsets(8) == (-8, -6, -4, -2, 0, 2, 4, 6, 8)
    for context in range(101):
        offsets = context_offsets(context)
        assert 0 in offsets
        assert offsets == tuple(-offset for offset in offsets[::-1])
        assert max(offsets) == context
        assert len(set(offsets)) == len(offsets) <= MAX_PREDICTED_FRAMES


def test_neighbours_never_leave_their_clip():
    offsets = (-2, 0, 3)
    expected = []
    for first, count in ((0, 1), (1, 4), (5, 7)):
        for frame in range(count):
            row = [min(max(frame + offset, 0), count - 1) + first for offset in offsets]
            expected.append(row)
    assert neighbour_indices(torch.tensor([1, 4, 7]), offsets).tolist() == expected


@pytest.mark.parametrize(("context", "prelu"), [(0, True), (1, False), (8, True)])
def test_the_loss_with_a_context_is_that_of_a_plain_loop_over_neighbours(context, prelu):
    lengths = [5, 30]
    network = model(target("z"), target("c", 3, "abc"), context=context, prelu=prelu).eval()
    rng = np.random.default_rng(0)
    z = rng.standard_normal((35, 1)).astype(np.float32)
    z[7] = np.nan
    codes = rng.integers(-1, 3, 35)
    data = batch(lengths, z=torch.from_numpy(z), c=torch.from_numpy(codes))
    with torch.no_grad():
        sums, counts = network(data)
        features = network.encoder(data.mel, data.lengths)
        targets = network.target_values(data, torch.arange(30) < data.lengths[:, None])
        offsets = context_offsets(context)
        expected = dict.fromkeys(targets, 0.0)
        number = dict.fromkeys(targets, 0)
        for clip, first in enumerate([0, 5]):
            for frame in range(lengths[clip]):
                for k, offset in enumerate(offsets):
                    neighbour = first + min(max(frame + offset, 0), lengths[clip] - 1)
                    for worker in network.workers:
                        dims = worker.linear.out_features // len(offsets)
                        guess = worker.linear(features[clip, frame])
                        if prelu and worker.name != "c":
                            guess = torch.where(guess < 0, 0.25 * guess, guess)
                        guess, truth = (
                            guess[k * dims : (k + 1) * dims],
                            targets[worker.name][neighbour],
                        )
                        if worker.name == "c":
                            if truth < 0:
                                continue
                            cost = -guess.log_softmax(0)[truth]
                        else:
                            apart = guess - truth
                            if bool(apart.isnan().any()):
                                continue
                            cost = (apart.abs() if worker.name == "z" else apart.square()).mean()
                        expected[worker.name] += float(cost)
                        number[worker.name] += 1
    names = [worker.name for worker in network.workers]
    np.testing.assert_allclose(sums, [expected[name] for name in names], rtol=1e-4)
    assert counts.tolist() == [number[name] for name in names]
