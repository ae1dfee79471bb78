import itertools
import math
from collections import defaultdict

import pytest

torch = pytest.importorskip("torch")

from augury.downstream.scores import ctc  # noqa: E402

# Of float64 logarithms of sums of at most 4⁵ products of 5: a handful of roundings, each of 1e-16
# of a number below 100, and a few decades to spare.
CLOSE = {"rtol": 0, "atol": 1e-10}


def draw_log_probs(seed, *shape, scale=2.0, dtype=torch.float64):
    """Log probabilities of frames of shape (…, symbols)."""
    rng = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=rng, dtype=dtype)).log_softmax(-1)


def draw_with_zeros(seed, *shape):
    """The same, with half of all symbols impossible, but the likeliest of each frame."""
    log_probs = draw_log_probs(seed, *shape)
    rng = torch.Generator().manual_seed(seed)
    zero = torch.rand(shape, generator=rng) < 0.5
    zero &= log_probs < log_probs.amax(-1, keepdim=True)
    return log_probs.masked_fill(zero, -math.inf).log_softmax(-1)


def all_outputs(log_probs, blank=0):
    """Output → probability, from all alignments of frames (frames, symbols)."""
    frames = log_probs.exp().tolist()
    terms = defaultdict(list)
    for alignment in itertools.product(range(log_probs.shape[1]), repeat=len(frames)):
        merged = [symbol for symbol, _ in itertools.groupby(alignment)]
        output = tuple(symbol for symbol in merged if symbol != blank)
        terms[output].append(math.prod(f[s] for f, s in zip(frames, alignment, strict=True)))
    return {output: math.fsum(probabilities) for output, probabilities in terms.items()}


def prefix_probability(outputs, prefix):
    """Log probability of the outputs that begin with a prefix."""
    return log(math.fsum(p for o, p in outputs.items() if o[: len(prefix)] == prefix))


def log(p):
    return math.log(p) if p else -math.inf


def whole(log_probs):
    return torch.full((len(log_probs),), log_probs.shape[1])


def extend_to(scorer, hypothesis):
    """Scores (symbols,) of a scorer of one utterance after a hypothesis."""
    prefixes = scorer.empty()
    for symbol in hypothesis:
        prefixes = scorer.extend(prefixes, torch.tensor([[0]]), torch.tensor([[symbol]]))
    return scorer.scores(prefixes)[0, 0]


def search(log_probs, beam, blank=0):
    """{output: log probability} of one utterance (frames, symbols)."""
    (hypotheses,) = ctc.prefix_beam_search(
        log_probs[None], torch.tensor([len(log_probs)]), beam=beam, blank=blank
    )
    assert [h.log_prob for h in hypotheses] == sorted(
        (h.log_prob for h in hypotheses), reverse=True
    )
    outputs = {tuple(h.symbols): h.log_prob for h in hypotheses}
    assert len(outputs) == len(hypotheses)  # none twice
    return outputs


# Frames, symbols, blank.
TINY = [(1, 2, 0), (1, 4, 2), (2, 3, 0), (3, 3, 1), (4, 4, 3), (5, 2, 0), (5, 3, 2), (5, 4, 0)]

# ------------------------------------------------------------------------------- by hand


def test_greedy_by_hand():
    best = torch.tensor([[0, 1, 1, 0, 1, 2, 2], [2, 2, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0]])
    log_probs = torch.nn.functional.one_hot(best, 3).log()
    assert ctc.greedy_search(log_probs, torch.tensor([7, 4, 7])) == [[1, 1, 2], [2, 1], []]
    # With blank 2.
    assert ctc.greedy_search(log_probs, torch.tensor([7, 5, 2]), blank=2) == [
        [0, 1, 0, 1],
        [1, 0],
        [0],
    ]


def test_two_frames_by_hand():
    # Each frame: blank .6, a .4. Best path: nothing, .36. But a is .24 + .24 + .16 = .64.
    log_probs = torch.tensor([0.6, 0.4], dtype=torch.float64).log().expand(1, 2, 2)
    lengths = torch.tensor([2])
    assert ctc.greedy_search(log_probs, lengths) == [[]]
    (hypotheses,) = ctc.prefix_beam_search(log_probs, lengths, beam=2)
    assert [h.symbols for h in hypotheses] == [[1], []]
    # Rounding of a few logarithms, here and below.
    assert [math.exp(h.log_prob) for h in hypotheses] == pytest.approx([0.64, 0.36], rel=1e-14)
    scorer = ctc.PrefixScorer(log_probs, lengths, end=0)
    assert extend_to(scorer, []).exp().tolist() == pytest.approx([0.36, 0.64], rel=1e-14)
    assert extend_to(scorer, [1]).exp().tolist() == pytest.approx([0.64, 0], rel=1e-14)


def test_empty_hypothesis_best():
    log_probs = torch.tensor([0.9, 0.1], dtype=torch.float64).log().expand(1, 3, 2)
    (hypotheses,) = ctc.prefix_beam_search(log_probs, torch.tensor([3]), beam=1)
    assert [h.symbols for h in hypotheses] == [[]]
    assert math.exp(hypotheses[0].log_prob) == pytest.approx(0.729, rel=1e-14)


def test_repeated_symbols_need_a_blank_between():
    # a, blank, a: certain. Without the blank it is one a.
    for best, output in (([1, 0, 1], [1, 1]), ([1, 1, 1], [1])):
        log_probs = torch.nn.functional.one_hot(torch.tensor([best]), 3).double().log()
        lengths = torch.tensor([3])
        assert ctc.greedy_search(log_probs, lengths) == [output]
        assert ctc.prefix_beam_search(log_probs, lengths) == [[ctc.Hypothesis(output, 0.0)]]
        scorer = ctc.PrefixScorer(log_probs, lengths, end=0)
        assert extend_to(scorer, output).tolist() == [0, -math.inf, -math.inf]


# ------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize(("frames", "symbols", "blank"), TINY)
@pytest.mark.parametrize("draw", [draw_log_probs, draw_with_zeros])
def test_wide_search_is_exact(frames, symbols, blank, draw):
    for seed in range(3):
        log_probs = draw(seed, frames, symbols)
        expected = {o: math.log(p) for o, p in all_outputs(log_probs, blank).items() if p}
        outputs = search(log_probs, 2 * symbols**frames, blank)  # with places left over
        assert outputs.keys() == expected.keys()
        for output, log_prob in expected.items():
            assert outputs[output] == pytest.approx(log_prob, rel=0, abs=CLOSE["atol"])


@pytest.mark.parametrize(("frames", "symbols", "blank"), TINY)
@pytest.mark.parametrize("draw", [draw_log_probs, draw_with_zeros])
def test_scores_of_every_hypothesis(frames, symbols, blank, draw):
    log_probs = draw(7, frames, symbols)
    outputs = all_outputs(log_probs, blank)
    scorer = ctc.PrefixScorer(log_probs[None], torch.tensor([frames]), blank=blank, end=blank)
    letters = [s for s in range(symbols) if s != blank]
    prefixes, hypotheses = scorer.empty(), [()]
    for _ in range(frames + 2):  # on to hypotheses that no utterance as short can hold
        expected = [
            [
                log(outputs.get(h, 0)) if s == blank else prefix_probability(outputs, (*h, s))
                for s in range(symbols)
            ]
            for h in hypotheses
        ]
        scores = scorer.scores(prefixes)[0]
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(scores, expected, **CLOSE)
        origins = list(itertools.product(range(len(hypotheses)), letters))
        hypotheses = [(*hypotheses[i], s) for i, s in origins]
        origin, symbol = torch.tensor(origins).T[:, None]
        prefixes = scorer.extend(prefixes, origin, symbol)


def test_against_ctc_loss():
    log_probs = draw_log_probs(3, 4, 30, 6)
    lengths = torch.tensor([30, 21, 12, 6])
    targets = [[1, 2, 3, 4, 5], [2, 2, 2], [5, 5, 1, 1, 5, 3], [4]]
    sizes = torch.tensor([len(t) for t in targets])
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor(list(itertools.chain(*targets))),
        lengths,
        sizes,
        reduction="none",
    )
    # Sums over 30 frames, of logarithms below 100.
    for x, n, target, expected in zip(log_probs, lengths, targets, loss, strict=True):
        scorer = ctc.PrefixScorer(x[None], n[None], end=0)
        assert float(extend_to(scorer, target)[0]) == pytest.approx(-float(expected), rel=1e-12)


def test_search_against_ctc_loss():
    # What a beam that is wide for its utterance finds has all its alignments.
    log_probs = draw_log_probs(4, 1, 12, 3, scale=4.0)
    (hypotheses,) = ctc.prefix_beam_search(log_probs, torch.tensor([12]), beam=800)
    best = hypotheses[0]
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([best.symbols]),
        torch.tensor([12]),
        torch.tensor([len(best.symbols)]),
        reduction="none",
    )
    # Of 753 possible prefixes none is lost: rounding only.
    assert best.log_prob == pytest.approx(-float(loss), rel=1e-12)


def plain_search(log_probs, beam):
    """Hannun's search over a dict of prefixes, in probabilities: slow and short."""
    prefixes = {(): (1.0, 0.0)}
    for frame in log_probs.exp().tolist():
        following = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, symbol) in prefixes.items():
            following[prefix][0] += (blank + symbol) * frame[0]
            if prefix:
                following[prefix][1] += symbol * frame[prefix[-1]]
            for s, p in enumerate(frame[1:], 1):
                following[(*prefix, s)][1] += p * (blank + symbol * (prefix[-1:] != (s,)))
        best = sorted(following.items(), key=lambda item: -sum(item[1]))[:beam]
        prefixes = {prefix: (b, s) for prefix, (b, s) in best if b + s}
    return {prefix: math.log(b + s) for prefix, (b, s) in prefixes.items()}


@pytest.mark.parametrize("beam", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("draw", [draw_log_probs, draw_with_zeros])
def test_narrow_search_equals_one_in_dicts(beam, draw):
    # Prefixes leave the beam and come back while longer ones stay: here they have to be recognised.
    # With two symbols and few frames there are fewer prefixes than places for a while.
    for seed, shape in itertools.product(range(6), [(25, 3), (25, 4), (25, 6), (8, 2)]):
        log_probs = draw(seed, *shape)
        expected, outputs = plain_search(log_probs, beam), search(log_probs, beam)
        assert outputs.keys() == expected.keys()
        for prefix, log_prob in expected.items():
            assert outputs[prefix] == pytest.approx(log_prob, rel=1e-12)  # 25 frames' rounding


# ---------------------------------------------------------------------------------- laws


def test_a_narrow_beam_is_never_better():
    for seed in range(20):
        log_probs = draw_log_probs(seed, 5, 4, scale=1.0)
        exact = all_outputs(log_probs)
        best = math.log(max(exact.values()))
        for beam in (1, 2, 3, 8):
            for output, log_prob in search(log_probs, beam).items():
                # Rounding may lift it.
                assert log_prob <= math.log(exact[output]) + CLOSE["atol"]
                assert log_prob <= best + CLOSE["atol"]


def test_scores_sum_to_that_of_their_prefix():
    """What begins with a hypothesis is the hypothesis or goes on with one of the symbols."""
    log_probs = draw_log_probs(5, 1, 40, 8)
    scorer = ctc.PrefixScorer(log_probs, whole(log_probs), end=0)
    prefixes, expected = scorer.empty(), 0.0
    for symbol in (3, 3, 1, 7, 7, 7, 2):
        scores = scorer.scores(prefixes)[0, 0]
        # Sums over 40 frames.
        assert float(scores.logsumexp(0)) == pytest.approx(expected, abs=1e-11)
        expected = float(scores[symbol])
        prefixes = scorer.extend(prefixes, torch.tensor([[0]]), torch.tensor([[symbol]]))


LENGTHS = torch.tensor([20, 1, 13, 0, 6])


def test_batched_equals_one_by_one():
    log_probs = draw_log_probs(6, 5, 20, 5)
    for x, n in zip(log_probs, LENGTHS, strict=True):
        x[n:] = math.nan  # values in the padding have no effect
    greedy = ctc.greedy_search(log_probs, LENGTHS)
    hypotheses = ctc.prefix_beam_search(log_probs, LENGTHS, beam=4)
    assert (greedy[3], hypotheses[3]) == ([], [ctc.Hypothesis([], 0.0)])  # of no frames
    for i, n in enumerate(LENGTHS):
        alone = log_probs[i : i + 1, :n], LENGTHS[i : i + 1]
        assert ctc.greedy_search(*alone) == [greedy[i]]
        (expected,) = ctc.prefix_beam_search(*alone, beam=4)
        assert [h.symbols for h in hypotheses[i]] == [h.symbols for h in expected]
        # log and exp round differently where they are vectorised, and where a few are left over.
        assert [h.log_prob for h in hypotheses[i]] == pytest.approx(
            [h.log_prob for h in expected], rel=1e-12
        )


def test_batched_scores_equal_one_by_one():
    log_probs = draw_log_probs(8, 5, 20, 5)
    for x, n in zip(log_probs, LENGTHS, strict=True):
        x[n:] = math.nan
    rng = torch.Generator().manual_seed(0)
    steps = [
        (torch.randint(beam, (5, 3), generator=rng), torch.randint(1, 4, (5, 3), generator=rng))
        for beam in (1, 3, 3, 3)
    ]

    def scores(rows):
        frames = int(LENGTHS[rows].max())
        scorer = ctc.PrefixScorer(log_probs[rows, :frames], LENGTHS[rows], end=4)
        prefixes = scorer.empty()
        for hypothesis, symbol in steps:
            yield scorer.scores(prefixes)
            prefixes = scorer.extend(prefixes, hypothesis[rows], symbol[rows])
        yield scorer.scores(prefixes)

    together = list(scores(slice(None)))
    for i in range(5):
        for expected, batched in zip(scores(slice(i, i + 1)), together, strict=True):
            # As above, and sums of more or fewer zeros are taken in another order.
            torch.testing.assert_close(batched[i : i + 1], expected, rtol=1e-12, atol=1e-12)


def test_single_precision():
    log_probs = draw_log_probs(9, 2, 300, 30, scale=4.0, dtype=torch.float32)
    lengths = torch.tensor([300, 150])
    for narrow, wide in zip(
        ctc.prefix_beam_search(log_probs, lengths),
        ctc.prefix_beam_search(log_probs.double(), lengths),
        strict=True,
    ):
        # 300 sums, each rounded to 6e-8 of itself, mostly to cancel.
        assert narrow[0].log_prob == pytest.approx(wide[0].log_prob, rel=1e-5)


# ------------------------------------------------------------------------------- odd cases


def test_one_frame():
    log_probs = draw_log_probs(10, 1, 1, 4)
    outputs = search(log_probs[0], 9)
    assert outputs.keys() == {(), (1,), (2,), (3,)}
    scorer = ctc.PrefixScorer(log_probs, torch.tensor([1]), end=0)
    torch.testing.assert_close(extend_to(scorer, []), log_probs[0, 0], **CLOSE)


def test_hypothesis_longer_than_its_utterance():
    log_probs = draw_log_probs(11, 1, 3, 4)
    scorer = ctc.PrefixScorer(log_probs, torch.tensor([2]), end=3)
    assert extend_to(scorer, [1, 2]).isneginf().tolist() == [True, True, True, False]
    assert extend_to(scorer, [1, 1]).isneginf().all()  # takes three frames
    assert extend_to(scorer, [1, 2, 1]).isneginf().all()
    assert extend_to(scorer, [1, 2, 1, 1]).isneginf().all()


def test_nothing_follows_the_end():
    log_probs = draw_log_probs(12, 1, 6, 4)
    scorer = ctc.PrefixScorer(log_probs, torch.tensor([6]), end=3)
    for hypothesis in ([3], [1, 3], [1, 0], [1, 3, 2], [0, 0]):
        assert extend_to(scorer, hypothesis).isneginf().all()


def test_all_impossible():
    log_probs = torch.full((1, 3, 4), -math.inf)
    lengths = torch.tensor([3])
    assert ctc.prefix_beam_search(log_probs, lengths) == [[]]
    scorer = ctc.PrefixScorer(log_probs, lengths, end=0)
    assert extend_to(scorer, []).isneginf().all()
    assert extend_to(scorer, [1, 1]).isneginf().all()


def test_scores_of_very_different_scale():
    """A prefix of probability e^-3000, where a shared scale would have lost it."""
    log_probs = torch.full((1, 4, 3), -math.inf, dtype=torch.float64)
    log_probs[0, :, 1] = torch.tensor([0.0, -1000, -1000, -1000])
    log_probs[0, 3, 2] = -1000.0  # only after three frames of 1
    scorer = ctc.PrefixScorer(log_probs, torch.tensor([4]), end=0)
    assert extend_to(scorer, [1]).tolist() == [-3000, -math.inf, -3000]


def test_gradients_are_not_kept():
    log_probs = draw_log_probs(13, 1, 4, 3).requires_grad_()
    scorer = ctc.PrefixScorer(log_probs, torch.tensor([4]), end=0)
    assert not extend_to(scorer, [1]).requires_grad
    assert ctc.prefix_beam_search(log_probs, torch.tensor([4]))


def test_errors():
    log_probs = draw_log_probs(14, 2, 4, 3)
    with pytest.raises(ValueError, match=r"lengths has shape \(1,\), but there are 2 utterances"):
        ctc.greedy_search(log_probs, torch.tensor([4]))
    with pytest.raises(ValueError, match="2 to 5 frames, but there are 4"):
        ctc.greedy_search(log_probs, torch.tensor([2, 5]))
    with pytest.raises(ValueError, match="blank is 3, but must be one of 3 symbols"):
        ctc.prefix_beam_search(log_probs, whole(log_probs), blank=3)
    with pytest.raises(ValueError, match="beam is 0"):
        ctc.prefix_beam_search(log_probs, whole(log_probs), beam=0)
    with pytest.raises(ValueError, match="end is -1, but must be one of 3"):
        ctc.PrefixScorer(log_probs, whole(log_probs), end=-1)
    log_probs[1, 2, 0] = math.nan
    with pytest.raises(ValueError, match="utterance 1 hold NaN"):
        ctc.greedy_search(log_probs, whole(log_probs))
    assert ctc.greedy_search(log_probs, torch.tensor([4, 2]))  # beyond the end it is no harm
