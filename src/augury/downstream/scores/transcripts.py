"""How well transcripts are recognised: error rates of sequences of phones, words or characters.

The least number of insertions, deletions and substitutions that turn each reference into its
hypothesis (Levenshtein, all at cost 1), aligned by jiwer.
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
    """The errors of a corpus, and where they are."""

    rate: (
        float  # all errors / all reference tokens: lower is better, insertions can take it above 1
    )
    insertions: int
    deletions: int
    substitutions: int
    length: int  # tokens of all references
    # How often a reference token (first) came out as a hypothesis token (second), right ones too;
    # "" comes first in an insertion and second in a deletion.
    confusions: Mapping[tuple[str, str], int]
    utterances: tuple[Errors, ...]  # in the order given


def error_rate(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> ErrorRate:
    """Error rate of hypotheses, a list of tokens each, against their references.

    Phones, words or characters, as they are: nothing is split, stripped or put in lower case, and
    a token may hold spaces. Of an utterance whose reference is empty, all of the hypothesis is
    insertions, which count in the corpus; of an empty hypothesis, all of the reference is
    deletions.

    An utterance's total is unique, and so is how many more insertions it has than deletions; how
    the rest divides is not (two substitutions can be a deletion and an insertion around a hit), nor
    which token came out as which: there it is as jiwer aligns them. sclite, which has
    substitutions cost 4 and the others 3, can find more errors.

    Raises:
        InputError: the numbers of utterances differ, an utterance is no list of tokens or has an
            empty one, or no reference has any token.
    """
    if len(references) != len(hypotheses):
        raise InputError(
            f"{len(references)} references, but {len(hypotheses)} hypotheses; one of each is "
            "wanted of every utterance, an empty one if nothing was recognised"
        )
    references, hypotheses = (
        _check_tokens("reference", references),
        _check_tokens("hypothesis", hypotheses),
    )
    length = sum(map(len, references))
    if not length:
        raise InputError(
            f"no token in any of {len(references)} references, so that there is no rate; check "
            "where they were read"
        )
    jiwer = _jiwer()
    as_they_are = jiwer.Compose([])  # in place of splitting strings
    aligned = jiwer.process_words(references, hypotheses, as_they_are, as_they_are).alignments
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
        of = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        to = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        # A chunk has as many tokens on both sides, or none on one.
        yield from zip(of or [""] * len(to), to or [""] * len(of), strict=True)


def _errors(pairs: Sequence[tuple[str, str]]) -> Errors:
    insertions = sum(not of for of, _ in pairs)
    deletions = sum(not to for _, to in pairs)
    wrong = sum(of != to for of, to in pairs)
    return Errors(insertions, deletions, wrong - insertions - deletions, len(pairs) - insertions)


def _check_tokens(name: str, utterances: Sequence[Tokens]) -> list[list[str]]:
    for place, tokens in enumerate(utterances):
        if isinstance(tokens, str):
            raise InputError(
                f"{name} {place} is the string {tokens!r}, but a list of tokens is wanted; pass "
                ".split() of it for words, or list() of it for characters"
            )
        for token in tokens:
            if not isinstance(token, str) or not token:
                raise InputError(
                    f"{name} {place} has the token {token!r}, but a token is a string, and not "
                    "the empty one, which stands for none"
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
