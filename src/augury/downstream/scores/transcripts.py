"""How well transcripts are recognised: error rates of sequences of phones, words or characters.

Errors are the fewest insertions, deletions and substitutions that turn a reference into its
hypothesis (Levenshtein distance, each at cost 1), aligned by jiwer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from augury.errors import InputError, MissingPackage

Tokens = Sequence[str]


@dataclass(frozen=True)
class Errors:
    """The errors of one utterance."""

    insertions: int
    deletions: int
    substitutions: int
    length: int  # tokens of the reference

    @property
    def total(self) -> int:
        """Insertions, deletions and substitutions together."""
        return self.insertions + self.deletions + self.substitutions


@dataclass(frozen=True)
class ErrorRate:
    """The errors of a corpus: in all, by kind, by token and by utterance."""

    rate: float  # all errors / all reference tokens: lower is better, may be above 1
    insertions: int
    deletions: int
    substitutions: int
    length: int  # tokens of all references
    # How often a reference token (first) was recognised as a hypothesis token (second), right ones
    # included; in an insertion the first is "", in a deletion the second.
    confusions: Mapping[tuple[str, str], int]
    utterances: tuple[Errors, ...]  # in the order given


def error_rate(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> ErrorRate:
    """Error rate of hypotheses: errors / reference tokens over all utterances, lower is better.

    Each utterance is a list of tokens (phones, words or characters), compared as they are: nothing
    is split, stripped or put in lower case, and a token may contain spaces. If a reference is
    empty, all tokens of its hypothesis are insertions; if a hypothesis is empty, all tokens of its
    reference are deletions. Insertions can make the rate larger than 1.

    The number of errors of an utterance is unique, and so is insertions minus deletions. The number
    of substitutions is not (two substitutions may equally be a deletion and an insertion around a
    right token), nor are the confusions; these are as jiwer aligns. sclite, where a substitution
    costs 4 and the others 3, can count more errors.

    Raises:
        InputError: the numbers of utterances differ, an utterance is not a list of tokens or has an
            empty token, or no reference has any token.
        MissingPackage: jiwer is not installed.

    >>> result = error_rate([["the", "cat", "sat"]], [["the", "hat"]])
    >>> round(result.rate, 3), result.substitutions, result.deletions, result.insertions
    (0.667, 1, 1, 0)
    """
    if len(references) != len(hypotheses):
        raise InputError(
            f"{len(references)} references, but {len(hypotheses)} hypotheses; give one of each for "
            "every utterance, an empty one if nothing was recognised"
        )
    references, hypotheses = (
        _check_tokens("reference", references),
        _check_tokens("hypothesis", hypotheses),
    )
    length = sum(map(len, references))
    if not length:
        raise InputError(
            f"no token in any of {len(references)} references, so there is no error rate; check "
            "where they were read"
        )
    jiwer = _jiwer()
    unchanged = jiwer.Compose([])  # instead of splitting strings
    aligned = jiwer.process_words(references, hypotheses, unchanged, unchanged).alignments
    pairs = [
        list(_pairs(*utterance)) for utterance in zip(references, hypotheses, aligned, strict=True)
    ]
    utterances = tuple(map(_errors, pairs))
    return ErrorRate(
        rate=sum(errors.total for errors in utterances) / length,
        insertions=sum(errors.insertions for errors in utterances),
        deletions=sum(errors.deletions for errors in utterances),
        substitutions=sum(errors.substitutions for errors in utterances),
        length=length,
        confusions=dict(Counter(pair for utterance in pairs for pair in utterance)),
        utterances=utterances,
    )


def _pairs(reference: Tokens, hypothesis: Tokens, chunks: Sequence) -> Iterator[tuple[str, str]]:
    """Aligned tokens of an utterance, "" where one side has none."""
    for chunk in chunks:
        true = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        recognised = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        # A chunk has equally many tokens on both sides, or none on one.
        yield from zip(true or [""] * len(recognised), recognised or [""] * len(true), strict=True)


def _errors(pairs: Sequence[tuple[str, str]]) -> Errors:
    insertions = sum(not true for true, _ in pairs)
    deletions = sum(not recognised for _, recognised in pairs)
    wrong = sum(true != recognised for true, recognised in pairs)
    return Errors(insertions, deletions, wrong - insertions - deletions, len(pairs) - insertions)


def _check_tokens(name: str, utterances: Sequence[Tokens]) -> list[list[str]]:
    for place, tokens in enumerate(utterances):
        if isinstance(tokens, str):
            raise InputError(
                f"{name} {place} is the string {tokens!r}, but must be a list of tokens; pass "
                ".split() of it for words, or list() of it for characters"
            )
        for token in tokens:
            if not isinstance(token, str) or not token:
                raise InputError(
                    f"{name} {place} has the token {token!r}, but a token must be a string that is "
                    "not empty"
                )
    return [list(tokens) for tokens in utterances]


def _jiwer() -> ModuleType:
    try:
        import jiwer
    except ImportError as error:
        raise MissingPackage(
            "error rates of transcripts are aligned by jiwer, which is not installed; "
            "pip install 'augury[train]'"
        ) from error
    return jiwer
