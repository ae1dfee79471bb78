from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from augury.downstream.scores.transcripts import ErrorRate, Errors, error_rate

jiwer = pytest.importorskip("jiwer")

TOKENS = ["a", "b", "c", "d e", " "]  # few, so that alignments tie; some hold spaces


def draw_transcripts(seed: int, utterances: int = 300) -> tuple[list[list[str]], list[list[str]]]:
    """References and hypotheses of 0 to 7 tokens."""
    rng = np.random.default_rng(seed)

    def tokens() -> list[str]:
        return [TOKENS[i] for i in rng.integers(len(TOKENS), size=rng.integers(8))]

    return [tokens() for _ in range(utterances)], [tokens() for _ in range(utterances)]


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein's, row by row."""
    row = list(range(len(hypothesis) + 1))
    for i, token in enumerate(reference, 1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(above[j - 1] + (token != other), above[j] + 1, row[j - 1] + 1))
    return row[-1]


def best(reference: list[str], hypothesis: list[str]) -> set[tuple[int, int, int]]:
    """Insertions, deletions and substitutions of each alignment with the fewest errors."""

    @cache
    def counts_up_to(i: int, j: int) -> frozenset[tuple[int, int, int]]:
        if not i and not j:
            return frozenset([(0, 0, 0)])
        ways = set()
        if j:
            ways |= {(a + 1, b, c) for a, b, c in counts_up_to(i, j - 1)}
        if i:
            ways |= {(a, b + 1, c) for a, b, c in counts_up_to(i - 1, j)}
        if i and j:
            wrong = reference[i - 1] != hypothesis[j - 1]
            ways |= {(a, b, c + wrong) for a, b, c in counts_up_to(i - 1, j - 1)}
        least = min(map(sum, ways))
        return frozenset(way for way in ways if sum(way) == least)

    return set(counts_up_to(len(reference), len(hypothesis)))


def counts(errors: Errors | ErrorRate) -> tuple[int, int, int]:
    return errors.insertions, errors.deletions, errors.substitutions


# --------------------------------------------------------------------------- by hand


def test_worked_by_hand():
    result = error_rate(
        [["sil", "dh", "ih", "s", "sil"], ["k", "ae", "t"]],
        [["sil", "d", "ih", "sil"], ["k", "ae", "ae", "t"]],
    )
    # dh for d, s left out; ae twice: 3 errors in 8 phones.
    assert result.rate == 3 / 8
    assert (result.insertions, result.deletions, result.substitutions, result.length) == (
        1,
        1,
        1,
        8,
    )
    assert result.utterances == (Errors(0, 1, 1, 5), Errors(1, 0, 0, 3))
    assert result.utterances[0].total == 2
    assert result.confusions == {
        ("sil", "sil"): 2,
        ("dh", "d"): 1,
        ("ih", "ih"): 1,
        ("s", ""): 1,
        ("k", "k"): 1,
        ("ae", "ae"): 1,
        ("", "ae"): 1,
        ("t", "t"): 1,
    }


def test_words_and_characters_are_lists_of_tokens_too():
    assert error_rate([["the", "cat", "sat"]], [["the", "bat"]]).rate == 2 / 3
    # Kitten to sitting: the textbook's three.
    assert error_rate([list("kitten")], [list("sitting")]).utterances == (Errors(1, 0, 2, 6),)


def test_the_rate_is_of_the_corpus_not_the_mean_of_utterances():
    assert error_rate([["a"], ["a", "b", "c"]], [["b"], ["a", "b", "c"]]).rate == 1 / 4


# --------------------------------------------------------------------------- oracles


def test_against_plain_dynamic_programming():
    references, hypotheses = draw_transcripts(0)
    result = error_rate(references, hypotheses)
    for reference, hypothesis, errors in zip(
        references, hypotheses, result.utterances, strict=True
    ):
        assert errors.total == distance(reference, hypothesis)
        assert counts(errors) in best(reference, hypothesis)
        assert errors.length == len(reference)
    assert result.rate == sum(map(distance, references, hypotheses)) / sum(map(len, references))


def test_against_jiwer_on_strings():
    references, hypotheses = (
        [[token.strip() or "f" for token in tokens if token != "d e"] for tokens in side]
        for side in draw_transcripts(1)
    )
    result = error_rate(references, hypotheses)
    raw = jiwer.process_words(
        [" ".join(tokens) for tokens in references], [" ".join(tokens) for tokens in hypotheses]
    )
    assert counts(result) == (raw.insertions, raw.deletions, raw.substitutions)
    assert result.rate == raw.wer
    right = sum(n for (true, recognised), n in result.confusions.items() if true == recognised)
    assert right == raw.hits


# ------------------------------------------------------------------------------ laws


def test_swapping_the_sides_swaps_insertions_and_deletions():
    """Where only one division is least; where several are, jiwer's choice may be another."""
    references, hypotheses = draw_transcripts(2)
    forth = error_rate(references, hypotheses).utterances
    back = error_rate(hypotheses, references).utterances
    unique = 0
    for reference, hypothesis, a, b in zip(references, hypotheses, forth, back, strict=True):
        assert a.total == b.total
        assert a.insertions - a.deletions == b.deletions - b.insertions
        if len(best(reference, hypothesis)) == 1:
            assert counts(a) == (b.deletions, b.insertions, b.substitutions)
            unique += 1
    assert unique > 100  # of 300: the law is not empty


def test_reordering_utterances_reorders_their_errors_only():
    references, hypotheses = draw_transcripts(3)
    result = error_rate(references, hypotheses)
    order = np.random.default_rng(0).permutation(len(references)).tolist()
    permuted = error_rate([references[i] for i in order], [hypotheses[i] for i in order])
    expected = replace(result, utterances=tuple(result.utterances[i] for i in order))
    assert permuted == expected


def test_renaming_tokens_renames_confusions_only():
    references, hypotheses = draw_transcripts(4)
    name = dict(zip(TOKENS, ["é", "b b", "\n", "日本", "A"], strict=True))
    result = error_rate(references, hypotheses)
    renamed = error_rate(
        [[name[t] for t in tokens] for tokens in references],
        [[name[t] for t in tokens] for tokens in hypotheses],
    )
    name[""] = ""
    confusions = {
        (name[true], name[recognised]): n for (true, recognised), n in result.confusions.items()
    }
    assert renamed == replace(result, confusions=confusions)


def test_confusions_add_up_to_tokens_and_errors():
    references, hypotheses = draw_transcripts(5)
    result = error_rate(references, hypotheses)
    true, recognised = Counter(), Counter()
    for (first, second), n in result.confusions.items():
        true[first] += n
        recognised[second] += n
    insertions, deletions = true.pop(""), recognised.pop("")
    assert true == Counter(token for tokens in references for token in tokens)
    assert recognised == Counter(token for tokens in hypotheses for token in tokens)
    assert (insertions, deletions) == (result.insertions, result.deletions)
    totals = [counts(errors) for errors in result.utterances]
    assert counts(result) == tuple(map(sum, zip(*totals, strict=True)))


# ------------------------------------------------------------------------- odd cases


def test_one_side_empty():
    result = error_rate([["a", "b"], [], []], [[], ["c", "c", "c"], []])
    assert result.utterances == (Errors(0, 2, 0, 2), Errors(3, 0, 0, 0), Errors(0, 0, 0, 0))
    assert result.rate == 5 / 2  # above 1: insertions have no bound
    assert result.confusions == {("a", ""): 1, ("b", ""): 1, ("", "c"): 3}


def test_equal_transcripts_have_no_error():
    references, _ = draw_transcripts(6)
    result = error_rate(references, references)
    assert result.rate == 0
    assert all(true == recognised for true, recognised in result.confusions)


def test_tokens_are_compared_unchanged():
    result = error_rate([("New York", " ", "A")], [("New", "York", "a")])  # tuples do too
    assert counts(result.utterances[0]) == (0, 0, 3)
    assert error_rate([["a b"]], [["a b"]]).rate == 0
    assert error_rate([["a "]], [["a"]]).rate == 1


@pytest.mark.parametrize("references", [[], [[]], [[], []]])
def test_references_without_tokens_are_refused(references):
    with pytest.raises(ValueError, match=rf"no token in any of {len(references)} references"):
        error_rate(references, [["a"]] * len(references))


def test_anything_but_lists_of_tokens_is_refused():
    with pytest.raises(ValueError, match=r"2 references, but 1 hypotheses; give one of each"):
        error_rate([["a"], ["b"]], [["a"]])
    with pytest.raises(ValueError, match=r"reference 1 is the string 'the cat'.*\.split\(\)"):
        error_rate([["a"], "the cat"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="hypothesis 0 has the token '', but"):
        error_rate([["a"]], [["a", ""]])
    with pytest.raises(ValueError, match="reference 0 has the token 3, but"):
        error_rate([[3]], [["a"]])  # type: ignore[list-item]


def test_without_jiwer_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ModuleNotFoundError, match=r"jiwer.*pip install 'augury\[train\]'"):
        error_rate([["a"]], [["a"]])
