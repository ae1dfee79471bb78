"""The attention decoder and the joint search, against plain stepping and exhaustive search."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from augury.downstream.models.attention import AttentionDecoder, joint_search  # noqa: E402
from augury.learning.layers import mask  # noqa: E402

SYMBOLS, WIDTH = 4, 5


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def decoder(symbols=SYMBOLS, **choices):
    sizes = {"units": 6, "embedding": 3, "attention": 4, "channels": 2, "kernel": 5}
    model = AttentionDecoder(WIDTH, symbols, end=0, **(sizes | choices)).double().eval()
    for parameter in model.parameters():  # large enough that outputs differ
        parameter.data.normal_(0, 0.8)
    return model


def utterances(lengths, frames=None):
    lengths = torch.tensor(lengths)
    frames = frames or int(lengths.max())
    encoded = torch.randn(len(lengths), frames, WIDTH, dtype=torch.float64)
    encoded *= mask(lengths, frames)[..., None]
    log_probs = (2 * torch.randn(len(lengths), frames, SYMBOLS, dtype=torch.float64)).log_softmax(
        -1
    )
    return encoded, lengths, log_probs


def decoder_log_probs(model, encoded, symbols):
    """Log probabilities of symbols, and of the end after them, one step at a time."""
    speech, state = model.start(encoded[None], torch.tensor([len(encoded)]))
    total, last = [], 0
    for symbol in [*symbols, 0]:
        state = model.step(speech, state, torch.tensor([[last]]))
        total.append(model.log_probs(state.hidden, state.context)[0, 0, symbol].item())
        last = symbol
    return total


def ctc_log_prob(log_probs, symbols):
    """The log probability of all alignments that collapse to the symbols."""
    total = 0.0
    for alignment in itertools.product(range(SYMBOLS), repeat=len(log_probs)):
        merged = [symbol for symbol, _ in itertools.groupby(alignment)]
        if [symbol for symbol in merged if symbol] == list(symbols):
            total += math.exp(sum(float(log_probs[t, s]) for t, s in enumerate(alignment)))
    return math.log(total) if total else -math.inf


def test_attention_weights_are_zero_in_the_padding():
    model = decoder()
    encoded, lengths, _ = utterances([6, 2, 1])
    speech, state = model.start(encoded, lengths)
    for _ in range(3):
        state = model.step(speech, state, torch.zeros(3, 1, dtype=torch.long))
        torch.testing.assert_close(
            state.weights.sum(-1), torch.ones(3, 1, dtype=torch.float64), rtol=0, atol=1e-12
        )
        assert not state.weights[1, 0, 2:].any()
        assert state.weights[2, 0, 0] == 1


def test_the_loss_equals_the_sum_over_steps():
    model = decoder()
    encoded, lengths, _ = utterances([6, 4])
    targets, counts = torch.tensor([[1, 3, 2], [2, 9, 9]]), torch.tensor([3, 1])
    targets[1, 1:] = 3  # anything
    loss, count = model.loss(encoded, lengths, targets, counts, smoothing=0.0)
    expected = sum(decoder_log_probs(model, encoded[0], [1, 3, 2])) + sum(
        decoder_log_probs(model, encoded[1][:4], [2])
    )
    assert int(count) == 6
    assert loss.item() == pytest.approx(-expected, rel=1e-12)


def test_smoothing_by_hand():
    model = decoder()
    encoded, lengths, _ = utterances([3])
    empty = torch.zeros(1, 0, dtype=torch.long)
    hard, count = model.loss(encoded, lengths, empty, torch.tensor([0]), smoothing=0.0)
    soft, _ = model.loss(encoded, lengths, empty, torch.tensor([0]), smoothing=0.1)
    speech, state = model.start(encoded, lengths)
    state = model.step(speech, state, torch.zeros(1, 1, dtype=torch.long))
    mean = model.log_probs(state.hidden, state.context).mean().item()
    assert int(count) == 1  # the end alone
    assert float(soft) == pytest.approx(0.9 * float(hard) - 0.1 * mean)


def test_padding_changes_nothing():
    model = decoder()
    encoded, lengths, log_probs = utterances([5, 3])
    targets, counts = torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    wider = torch.nn.functional.pad(encoded, (0, 0, 0, 4), value=0.0)
    for name in ("loss", "search"):
        if name == "loss":
            expected, padded = (
                model.loss(x, lengths, targets, counts)[0] for x in (encoded, wider)
            )
            torch.testing.assert_close(padded, expected, rtol=1e-12, atol=0)
        else:
            far = torch.nn.functional.pad(log_probs, (0, 0, 0, 4), value=5.0)
            expected = joint_search(model, encoded, lengths, log_probs, beam=3)
            padded = joint_search(model, wider, lengths, far, beam=3)
            assert [[h.symbols for h in u] for u in expected] == [
                [h.symbols for h in u] for u in padded
            ]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_batch_equals_single_utterances(weight):
    model = decoder()
    encoded, lengths, log_probs = utterances([7, 1, 4, 6])
    ctc = log_probs if weight else None
    beams = joint_search(model, encoded, lengths, ctc, beam=4, ctc_weight=weight)
    for k, n in enumerate(lengths.tolist()):
        (alone,) = joint_search(
            model, encoded[k : k + 1, :n], lengths[k : k + 1],
            log_probs[k : k + 1, :n] if weight else None, beam=4, ctc_weight=weight,
        )  # fmt: skip
        assert [hypothesis.symbols for hypothesis in beams[k]] == [
            hypothesis.symbols for hypothesis in alone
        ]
        for hypothesis, expected in zip(beams[k], alone, strict=True):
            assert hypothesis.log_prob == pytest.approx(expected.log_prob, abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_a_wide_beam_equals_exhaustive_search(weight):
    model = decoder()
    encoded, lengths, log_probs = utterances([3, 2])
    beams = joint_search(
        model, encoded, lengths, log_probs, beam=SYMBOLS**3 + 40, ctc_weight=weight
    )
    for k, n in enumerate(lengths.tolist()):
        expected = {}
        for size in range(n + 1):
            for symbols in itertools.product(range(1, SYMBOLS), repeat=size):
                by_decoder = sum(decoder_log_probs(model, encoded[k, :n], symbols))
                ctc = ctc_log_prob(log_probs[k, :n], symbols) if weight else 0.0
                score = ctc if weight == 1 else (1 - weight) * by_decoder + weight * ctc
                if score > -math.inf:
                    expected[symbols] = score
        assert {tuple(hypothesis.symbols) for hypothesis in beams[k]} == set(expected)
        best = max(expected, key=lambda symbols: expected[symbols])
        assert tuple(beams[k][0].symbols) == best
        for hypothesis in beams[k]:
            assert hypothesis.log_prob == pytest.approx(
                expected[tuple(hypothesis.symbols)], abs=1e-9
            )


def test_a_narrow_beam_is_sorted_with_true_scores():
    model = decoder()
    encoded, lengths, log_probs = utterances([4])
    (hypotheses,) = joint_search(model, encoded, lengths, log_probs, beam=2, ctc_weight=0.3)
    scores = [hypothesis.log_prob for hypothesis in hypotheses]
    assert len(hypotheses) <= 2
    assert scores == sorted(scores, reverse=True)
    for hypothesis in hypotheses:
        by_decoder = sum(decoder_log_probs(model, encoded[0], hypothesis.symbols))
        truth = 0.7 * by_decoder + 0.3 * ctc_log_prob(log_probs[0], hypothesis.symbols)
        assert hypothesis.log_prob == pytest.approx(truth, abs=1e-9)


def test_gradients_reach_every_parameter():
    model = decoder().train()
    encoded, lengths, _ = utterances([5, 3])
    model.loss(encoded, lengths, torch.tensor([[1, 2], [3, 1]]), torch.tensor([2, 2]))[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_it_learns_to_copy():
    symbols = 6
    model = AttentionDecoder(symbols + 8, symbols, end=0, units=32, embedding=8, attention=16,
                             channels=4, kernel=5, dropout=0.0)  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    targets = torch.randint(1, symbols, (16, 4))
    counts = torch.full((16,), 4)
    said = torch.nn.functional.one_hot(targets.repeat_interleave(2, dim=1), symbols).float()
    # With the place of each frame: frames that look alike would not say which comes first.
    encoded = torch.cat([said, torch.eye(8).expand(16, -1, -1)], dim=-1)
    lengths = torch.full((16,), 8)
    for _ in range(400):
        optimiser.zero_grad()
        loss, count = model.loss(encoded, lengths, targets, counts, smoothing=0.0)
        (loss / count).backward()
        optimiser.step()
    beams = joint_search(model.eval(), encoded, lengths, None, beam=2, ctc_weight=0.0)
    assert float(loss / count) < 0.1  # log 6 = 1.8 by guessing
    right = [
        hypotheses[0].symbols == target
        for hypotheses, target in zip(beams, targets.tolist(), strict=True)
    ]
    assert sum(right) >= 14


def test_weights_without_ctc_are_refused():
    encoded, lengths, log_probs = utterances([3])
    with pytest.raises(ValueError, match="0 without CTC"):
        joint_search(decoder(), encoded, lengths, None, ctc_weight=0.2)
    with pytest.raises(ValueError, match=r"ctc_weight is 1\.5"):
        joint_search(decoder(), encoded, lengths, log_probs, ctc_weight=1.5)
