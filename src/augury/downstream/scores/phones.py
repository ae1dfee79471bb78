"""Phone labels: TIMIT's 61 folded to the 48 and the 39 that phone error rates are given in.

The folding is by K.-F. Lee and H.-W. Hon, "Speaker-independent phone recognition using hidden
Markov models", IEEE Trans. ASSP 37(11), 1989: 48 phones are modelled, and confusions within seven
groups of them are no errors, which leaves 39. Checked label by label against Kaldi's
egs/timit/s5/conf/phones.60-48-39.map and the 39 of SpeechBrain's recipes/TIMIT/timit_prepare.py
(whose 48 have q as k; here it is dropped from both).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from augury.errors import InputError

SILENCE = "sil"

# Each of the 48, in the paper's order, and TIMIT's labels that are folded into it. The paper also
# lists qcl and #h, which TIMIT's discs (phoncode.doc) do not have.
PHONES_48 = {
    "iy": "iy",
    "ih": "ih",
    "eh": "eh",
    "ae": "ae",
    "ix": "ix",
    "ax": "ax ax-h",
    "ah": "ah",
    "uw": "uw ux",
    "uh": "uh",
    "ao": "ao",
    "aa": "aa",
    "ey": "ey",
    "ay": "ay",
    "oy": "oy",
    "aw": "aw",
    "ow": "ow",
    "l": "l",
    "el": "el",
    "r": "r",
    "y": "y",
    "w": "w",
    "er": "er axr",
    "m": "m em",
    "n": "n nx",
    "en": "en",
    "ng": "ng eng",
    "ch": "ch",
    "jh": "jh",
    "dh": "dh",
    "b": "b",
    "d": "d",
    "dx": "dx",
    "g": "g",
    "p": "p",
    "t": "t",
    "k": "k",
    "z": "z",
    "zh": "zh",
    "v": "v",
    "f": "f",
    "th": "th",
    "s": "s",
    "sh": "sh",
    "hh": "hh hv",
    "cl": "pcl tcl kcl",
    "vcl": "bcl dcl gcl",
    "epi": "epi",
    "sil": "h# pau",
}
DROPPED = "q"  # the glottal stop

# The groups of the 48 that are one of the 39 each; the other phones stand alone.
GROUPS_39 = {
    "sil": "sil cl vcl epi",
    "l": "l el",
    "n": "n en",
    "sh": "sh zh",
    "aa": "aa ao",
    "ih": "ih ix",
    "ah": "ah ax",
}


def _members(groups: dict[str, str]) -> dict[str, str]:
    return {member: name for name, members in groups.items() for member in members.split()}


# sil, cl and vcl are not among TIMIT's labels; they are accepted so that folding can be repeated.
_TO_48 = {phone: phone for phone in PHONES_48} | _members(PHONES_48)
_TO_39 = {label: _members(GROUPS_39).get(phone, phone) for label, phone in _TO_48.items()}
_FOLDS = {48: _TO_48, 39: _TO_39}


def fold(phones: Iterable[str], *, to: int = 39, merge_silences: bool = False) -> list[str]:
    """TIMIT's phones mapped to the smaller set, without q; folding again changes nothing.

    Args:
        phones: TIMIT's labels or those of the 48 or 39, in lower case; convert ARPABET by
            `arpabet` first.
        to: 48, or 39 with closures, pauses and both ends as sil.
        merge_silences: whether several sil in a row become one, also with a q between them. False:
            labels are folded one by one, as in Kaldi, whose scorer ignores a missing sil. True: as
            in SpeechBrain, for comparison with error rates of its recipes.

    Raises:
        InputError: a phone is unknown, or `to` is neither 48 nor 39.

    >>> fold(["h#", "sh", "ix", "q", "dcl", "d"])
    ['sil', 'sh', 'ih', 'sil', 'd']
    """
    if to not in _FOLDS:
        raise InputError(f"to is {to}, but TIMIT's phones are folded to 48 or 39; pass one of them")
    fold = _FOLDS[to]
    result = [fold[phone] for phone in map(_check_phone, phones) if phone != DROPPED]
    return _merge_silences(result) if merge_silences else result


def arpabet(text: str) -> list[str]:
    """Phones of an ARPABET transcript, as `fold` takes them: "HH AH0 SIL" is hh, ah, sil.

    Split at white space, in lower case, without the stress digit 0, 1 or 2 at the end. SIL stays,
    as sil; to count errors without silences, remove it from references and hypotheses. The 39
    phones of the CMU dictionary (speechocean762, LibriSpeech) become 37 by `fold`, which merges AO
    with AA and ZH with SH; with sil that makes 38 classes, as the dictionary has no flap, dx.

    Raises:
        InputError: a phone is unknown, noises such as +NSN+ or spn included.

    >>> arpabet("HH AH0 L OW1")
    ['hh', 'ah', 'l', 'ow']
    """
    return [_check_phone(re.sub("[012]$", "", phone)) for phone in text.lower().split()]


def _merge_silences(phones: list[str]) -> list[str]:
    return [
        phone for name, run in groupby(phones) for phone in ([SILENCE] if name == SILENCE else run)
    ]


def _check_phone(phone: str) -> str:
    if phone != DROPPED and phone not in _TO_48:
        raise InputError(
            f"{phone!r} is none of TIMIT's 61 phones, nor sil, cl or vcl; leave it out or rename "
            "it, and read ARPABET in upper case or with stress by arpabet()"
        )
    return phone
