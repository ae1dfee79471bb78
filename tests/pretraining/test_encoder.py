import numpy as np
import pytest

from augury.audio import log_mel
from augury.pretraining.settings import EncoderSettings, PretrainSettings

torch = pytest.importorskip("torch")

from augury.learning.layers import (  # noqa: E402
    BidirectionalLSTM,
    FrameNorm,
    MaskedLeakyReLU,
    MaxPool,
    mask,
    reversal,
)
from augury.pretraining.encoder import Encoder, LogMel  # noqa: E402

TINY = EncoderSettings(
    bands=12, channels=(4, 6), convolutions=2, pools=(2, 3), recurrent_layers=2,
    recurrent_units=5, dense_layers=2, dimensions=7,
)  # fmt: skip


def encoder(settings=TINY, seed=0):
    torch.manual_seed(seed)
    return Encoder(settings).eval()


def utterances(lengths, bands=12, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.standard_normal((n, bands)), dtype=torch.float32) for n in lengths]


def padded(mels, filler=0.0):
    longest = max(map(len, mels))
    batch = torch.full((len(mels), longest, mels[0].shape[1]), filler)
    for row, mel in zip(batch, mels, strict=True):
        row[: len(mel)] = mel
    return batch, torch.tensor([len(mel) for mel in mels])


@pytest.mark.parametrize("filler", [0.0, 1e4])
@pytest.mark.parametrize("lengths", [(9, 5, 1), (1, 1), (3,), (17, 17, 2, 16)])
def test_features_of_a_padded_batch_are_those_of_each_utterance_alone(lengths, filler):
    model, mels = encoder(), utterances(lengths)
    together = model(*padded(mels, filler))
    for row, mel in zip(together, mels, strict=True):
        alone = model(mel[None])[0]
        # float32, summed in another order: about 1e-6.
        np.testing.assert_allclose(row[: len(mel)].detach(), alone.detach(), atol=1e-5, rtol=1e-5)
        assert (row[len(mel) :] == 0).all()


def test_the_memory_layout_of_the_mel_does_not_matter():
    model, (batch, lengths) = encoder(), padded(utterances((9, 5, 1)), 1e4)
    turned = batch.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(model(turned, lengths), model(batch, lengths))


def test_padding_changes_neither_gradients_nor_batch_statistics():
    """Training on a padded batch is training on its frames: the filler can be anything."""
    gradients = []
    for filler in (0.0, 1e4):
        model = encoder().train()
        model.recurrent_dropout.p = 0.0
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                module.p = 0.0
        model(*padded(utterances((9, 5, 2)), filler)).square().sum().backward()
        statistics = [buffer.clone() for buffer in model.buffers()]
        gradients.append([p.grad for p in model.parameters()] + statistics)
    for first, other in zip(*gradients, strict=True):
        assert torch.equal(first, other)


def test_there_are_as_many_features_as_frames():
    model = encoder()
    for n in (1, 2, 31):
        assert model(torch.zeros(2, n, 12)).shape == (2, n, 7)


def test_features_of_a_signal_are_those_of_its_log_mel():
    model = encoder(EncoderSettings(channels=(4,), convolutions=1, pools=(8,), recurrent_layers=1))
    rng = np.random.default_rng(1)
    signals = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (16_000, 9_000)]
    batch = torch.zeros(2, 16_000)
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(signal)
    together = model(batch, torch.tensor([16_000, 9_000]))
    for row, signal in zip(together, signals, strict=True):
        mel = log_mel(signal)
        alone = model(torch.from_numpy(mel)[None])[0]
        # The spectrum is another FFT's: 1e-3 dB, as below.
        np.testing.assert_allclose(row[: len(mel)].detach(), alone.detach(), atol=1e-4)
    assert torch.equal(
        model(torch.from_numpy(signals[0])), model(torch.from_numpy(signals[0])[None])
    )


@pytest.mark.parametrize("seconds", [0.025, 0.0349, 0.035, 1.0])
def test_log_mel_is_that_of_audio(seconds):
    rng = np.random.default_rng(2)
    signal = (0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32)
    mel, frames = LogMel(80)(torch.from_numpy(signal)[None])
    expected = log_mel(signal)
    assert mel.shape[1:] == expected.shape
    assert frames.tolist() == [len(expected)]
    np.testing.assert_allclose(mel[0], expected, atol=1e-3)  # float32 FFTs of different libraries


def test_a_signal_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="399 samples; one window of 400"):
        encoder(EncoderSettings())(torch.zeros(399))


def test_the_papers_encoder_has_the_authors_number_of_parameters():
    """About 14.16 M; by hand: convolutions 1,790,800, LayerNorms 93,440, LSTM 12,079,104, dense
    198,144. (torch's LSTM has two biases a gate, as theirs.)"""
    model = Encoder(PretrainSettings.of("paper", {}).encoder)
    count = sum(p.numel() for p in model.parameters())
    assert count == 1_790_800 + 93_440 + 12_079_104 + 198_144 == 14_161_488


def test_without_dense_layers_the_features_are_the_lstms():
    sizes = {"recurrent_layers": 1, "recurrent_units": 7, "dense_layers": 0, "dimensions": 14}
    model = encoder(EncoderSettings(channels=(4,), convolutions=1, pools=(8,), **sizes)).eval()
    outputs = []
    model.recurrent[0].register_forward_hook(lambda module, x, y: outputs.append(y))
    features = model(torch.randn(2, 9, 80))
    assert torch.equal(features, outputs[0].transpose(0, 1))


def test_gradients_reach_every_parameter():
    model = encoder().train()
    model(*padded(utterances((9, 5)))).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_lstm_is_torchs_own_on_packed_sequences():
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.manual_seed(0)
    ours = BidirectionalLSTM(4, 3)
    theirs = torch.nn.LSTM(4, 3, bidirectional=True)
    for name, value in ours.forwards.named_parameters():
        getattr(theirs, name).data.copy_(value)
    for name, value in ours.backwards.named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(value)
    lengths = torch.tensor([7, 4, 1])
    x = torch.randn(7, 3, 4)
    expected = pad_packed_sequence(theirs(pack_padded_sequence(x, lengths))[0])[0]
    inside = mask(lengths, 7).T[..., None]
    outputs = ours(x, reversal(lengths, 7)) * inside
    # float32 sums in another order.
    np.testing.assert_allclose(outputs.detach(), expected.detach(), atol=1e-6)


def test_reversal_worked_by_hand():
    # Two utterances of 3 and 2 frames, as rows frame * 2 + utterance.
    assert reversal(torch.tensor([3, 2]), 3).tolist() == [4, 3, 2, 1, 0, 5]


def test_reversal_is_its_own_inverse():
    lengths = torch.tensor([5, 1, 3, 4])
    rows = reversal(lengths, 5)
    assert rows[rows].tolist() == list(range(20))


def test_masked_leaky_relu_is_a_leaky_relu_with_frames_set_to_0():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    beyond = torch.tensor([1, 5])
    y = MaskedLeakyReLU.apply(x, beyond)
    expected = torch.nn.functional.leaky_relu(x).flatten(0, 1).clone()
    expected[beyond] = 0
    assert torch.equal(y.flatten(0, 1), expected)
    assert torch.autograd.gradcheck(lambda v: MaskedLeakyReLU.apply(v, beyond), x)


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_max_pool_is_torchs_max_pool2d(pool):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True)  # 7 bands: some are left
    y = MaxPool.apply(x, pool)
    expected = torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), (1, pool))
    assert torch.equal(y, expected.permute(0, 2, 3, 1))
    assert torch.autograd.gradcheck(lambda v: MaxPool.apply(v, pool), x)


def test_frame_norm_alone_is_batch_norm():
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    ours, theirs = FrameNorm(6), torch.nn.BatchNorm1d(6)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"channels": (4, 4), "pools": (2,)}, "2 blocks and pools 1"),
        ({"channels": (4,), "pools": (81,)}, "leave none of 80 bands"),
        ({"channels": "4", "pools": (1,)}, "list of whole numbers"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dense_layers": 0}, "the LSTM's 512 numbers"),
        ({"dense_layers": 0, "dimensions": 512, "recurrent_layers": 0}, "at least 1"),
        ({"recurrent_units": 2.5}, "recurrent_units is 2.5"),
    ],
)
def test_impossible_sizes_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        EncoderSettings(**choices)
