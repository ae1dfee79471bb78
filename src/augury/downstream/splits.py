"""Which segments are trained, validated and tested on: published splits, or shares of speakers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus
from augury.downstream.settings import EvaluateSettings
from augury.errors import InputError
from augury.store import digest

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
#: Names that a corpus may have for the validation split, and shares where a split is missing.
_VALIDATION, _SHARES = ("validation", "valid", "dev"), {TEST: "0.2", VALIDATION: "0.1"}


def assign_splits(
    corpus: Corpus, settings: EvaluateSettings, *, known_speakers: bool, fold: int = 0
) -> NDArray[Any]:
    """The split of each segment (n,) of str: "train", "validation", "test", or "" for none.

    If the corpus has a column `split`, its "train", "validation" (or "valid" or "dev") and "test"
    are used; where it has no "train", as VoxCeleb1, "dev" is trained on. A missing test or
    validation split is a share of what is left to train on: 0.2 and 0.1 of the speakers, or of the
    recordings where there is no column `speaker`. Which ones depends on their names alone, so it is
    the same on every run.

    Args:
        known_speakers: whether validation is on other recordings of the training speakers (for a
            task that classifies speakers), rather than on other speakers.
        fold: which of the settings' folds is tested on; the column `split` is ignored then.

    Raises:
        InputError: a split without segments, a split that does not exist, or a speaker in both
            train and test, unless the settings allow it.

    >>> import augury
    >>> from pathlib import Path
    >>> corpus = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> split = assign_splits(corpus, EvaluateSettings(label="digit"), known_speakers=False)
    >>> {name: len(set(corpus.columns["speaker"][split == name])) for name in SPLITS}
    {'train': 4, 'validation': 1, 'test': 1}
    """
    splits: set[str] = set()
    if "split" in corpus.columns and not settings.folds:
        splits = set(corpus.columns["split"].tolist()) - {""}
    test = settings.test or (TEST if TEST in splits else _SHARES[TEST])
    others = splits - {test}
    train = settings.train or next((name for name in (TRAIN, "dev") if name in others), "")
    validation = settings.validation or next(
        (name for name in _VALIDATION if name in others - {train} and not known_speakers),
        _SHARES[VALIDATION],
    )
    split = np.full(len(corpus), "", object)
    split[corpus.in_split(train) if train else slice(None)] = TRAIN
    recordings = np.array(corpus.names, object)[corpus.recording]
    speakers = corpus.columns.get("speaker", recordings)
    if settings.folds:
        order = _shuffle(set(speakers.tolist()), "fold")
        if len(order) < settings.folds:
            raise InputError(f"{len(order)} speakers or recordings make no {settings.folds} folds")
        split[np.isin(speakers, order[fold :: settings.folds])] = TEST
    else:
        _hold_out(split, corpus, test, TEST, speakers)
    _hold_out(split, corpus, validation, VALIDATION, recordings if known_speakers else speakers)
    for name in SPLITS:
        if not (split == name).any():
            raise InputError(
                f"no segment is left for the {name} split; the corpus has "
                f"{', '.join(sorted(splits)) or 'no column split'}: choose other splits or shares"
            )
    if "speaker" in corpus.columns and not settings.shared_speakers:
        _refuse_shared_speakers(speakers, split)
    return split


def _hold_out(
    split: NDArray[Any], corpus: Corpus, value: str, name: str, groups: NDArray[Any]
) -> None:
    """Assign segments to the split `name`, in place.

    They are those of the corpus's split `value`, or, if that is a number, this share of the groups
    (speakers or recordings) in the training split.
    """
    share = _share(value, name)
    if share is None:
        split[corpus.in_split(value)] = name
        return
    order = _shuffle(set(groups[split == TRAIN].tolist()), name)
    if len(order) > 1:
        chosen = order[: max(1, round(share * len(order)))]
        split[(split == TRAIN) & np.isin(groups, chosen)] = name


def _shuffle(names: set[str], salt: str) -> list[str]:
    """The names in an order that depends on themselves and the salt alone."""
    return sorted(names, key=lambda name: digest(f"{salt} {name}".encode(errors="surrogateescape")))


def _share(value: str, name: str) -> float | None:
    """The share that a setting gives for a split; None if it is the name of a split."""
    try:
        share = float(value)
    except ValueError:
        return None
    if not 0 < share <= 0.9:
        raise InputError(
            f"{name} is {share:g}, but must be a share above 0, up to 0.9, or a split's name"
        )
    return share


def _refuse_shared_speakers(speakers: NDArray[Any], split: NDArray[Any]) -> None:
    tested = set(speakers[split == TEST].tolist()) - {""}
    shared = sorted(set(speakers[split == TRAIN].tolist()) & tested)
    if shared:
        raise InputError(
            f"{len(shared)} speakers are in both train and test ({', '.join(shared[:3])}, …): a "
            "score on them does not hold for new speakers. Choose other splits, or allow it with "
            "--shared-speakers"
        )
