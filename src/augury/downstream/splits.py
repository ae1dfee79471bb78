"""What is trained on, validated on and tested on: published splits, or shares of the speakers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augury.corpus.corpus import Corpus
from augury.downstream.settings import EvaluateSettings
from augury.errors import InputError
from augury.store import digest

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
#: Names of splits, and shares where there are none.
_VALIDATION, _SHARES = ("validation", "valid", "dev"), {TEST: "0.2", VALIDATION: "0.1"}


def assign_splits(
    corpus: Corpus, settings: EvaluateSettings, *, known_speakers: bool, fold: int = 0
) -> NDArray:
    """Each segment's part (n,) of str: "train", "validation", "test", or "" for none of them.

    Where the corpus has a column `split`, its "train" (or "dev", where that is all there is beside
    "test", as in VoxCeleb1), "dev" or "validation", and "test" are taken; what it lacks is a share
    of the rest: of the speakers for the test, where there is a column `speaker`, else of the
    recordings. Which ones follows from their names alone, so that it is the same on every run.

    Args:
        known_speakers: whether validation is of other recordings of the speakers trained on
            (what a classifier of speakers needs), rather than of other speakers.
        fold: which of the settings' folds is tested on; splits are not looked at then.

    Raises:
        InputError: a part without segments, a split that is not there, or a speaker in train and
            test both, unless the settings allow it.
    """
    splits: set[str] = set()
    if "split" in corpus.columns and not settings.folds:
        splits = set(corpus.columns["split"].tolist()) - {""}
    test = settings.test or (TEST if TEST in splits else _SHARES[TEST])
    others = splits - {test}
    train = settings.train or next((one for one in (TRAIN, "dev") if one in others), "")
    held_out = settings.validation or next(
        (one for one in _VALIDATION if one in others - {train} and not known_speakers),
        _SHARES[VALIDATION],
    )
    part = np.full(len(corpus), "", object)
    part[corpus.in_split(train) if train else slice(None)] = TRAIN
    recordings = np.array(corpus.names, object)[corpus.recording]
    speakers = corpus.columns.get("speaker", recordings)
    if settings.folds:
        order = _shuffle(set(speakers.tolist()), "fold")
        if len(order) < settings.folds:
            raise InputError(f"{len(order)} speakers or recordings make no {settings.folds} folds")
        part[np.isin(speakers, order[fold :: settings.folds])] = TEST
    else:
        _take(part, corpus, test, TEST, speakers)
    _take(part, corpus, held_out, VALIDATION, recordings if known_speakers else speakers)
    for one in SPLITS:
        if not (part == one).any():
            raise InputError(
                f"no segment is left to {one} on; the corpus has "
                f"{', '.join(sorted(splits)) or 'no column split'}: choose other splits or shares"
            )
    if "speaker" in corpus.columns and not settings.shared_speakers:
        _refuse_shared_speakers(speakers, part)
    return part


def _take(part: NDArray, corpus: Corpus, asked: str, name: str, groups: NDArray) -> None:
    """Give a part what was asked for: a split, or a share of the groups that are trained on."""
    share = _share(asked, name)
    if share is None:
        part[corpus.in_split(asked)] = name
        return
    order = _shuffle(set(groups[part == TRAIN].tolist()), name)
    if len(order) > 1:
        chosen = order[: max(1, round(share * len(order)))]
        part[(part == TRAIN) & np.isin(groups, chosen)] = name


def _shuffle(names: set[str], salt: str) -> list[str]:
    """In an order that follows from the names alone."""
    return sorted(names, key=lambda one: digest(f"{salt} {one}".encode(errors="surrogateescape")))


def _share(asked: str, name: str) -> float | None:
    try:
        share = float(asked)
    except ValueError:
        return None
    if not 0 < share <= 0.9:
        raise InputError(f"{name} is {share:g}, but is a share above 0, up to 0.9, or a split")
    return share


def _refuse_shared_speakers(speakers: NDArray, part: NDArray) -> None:
    tested = set(speakers[part == TEST].tolist()) - {""}
    shared = sorted(set(speakers[part == TRAIN].tolist()) & tested)
    if shared:
        raise InputError(
            f"{len(shared)} speakers are in train and test both ({', '.join(shared[:3])}, …): a "
            "score on them says nothing of others. Choose other splits, or allow it with "
            "--shared-speakers"
        )
