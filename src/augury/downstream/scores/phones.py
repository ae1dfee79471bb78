"""Phone labels: TIMIT's 61 folded to the 48 and the 39 that phone error rates are given in.

The folding is of K.-F. Lee and H.-W. Hon, "Speaker-independent phone recognition using hidden
Markov models", IEEE Trans. ASSP 37(11), 1989: models of 48 phones, of which confusions inside seven
groups are no errors, which leaves 39. Checked label by label against Kaldi's
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


# sil, cl and vcl are no labels of TIMIT's, but of what is folded already.
_TO_48 = {phone: phone for phone in PHONES_48} | _members(PHONES_48)
_TO_39 = {label: _members(GROUPS_39).get(phone, phone) for label, phone in _TO_48.items()}
_FOLDS = {48: _TO_48, 39: _TO_39}


def fold(phones: Iterable[str], *, to: int = 39, merge_silences: bool = False) -> list[str]:
    """TIMIT's phones as those of the smaller set, without q; folding again changes nothing.

    Args:
        phones: TIMIT's labels or those of the 48 or 39, in lower case; ARPABET goes through
            `arpabet` first.
        to: 48, or 39 with closures, pauses and both ends as sil.
        merge_silences: whether sil in a row are one, also where a q was between. Off, labels are
            folded one by one, as in Kaldi, whose scorer then forgives a missing sil. On, as in
            SpeechBrain: for comparison with its recipes' error rates.

    Raises:
        InputError: a phone is unknown, or `to` is neither 48 nor 39.
    """
    if to not in _FOLDS:
        raise InputError(f"to is {to}, but TIMIT's phones are folded to 48 or 39; pass one of them")
    fold = _FOLDS[to]
    result = [fold[phone] for phone in map(_check_phone, phones) if phone != DROPPED]
    return _merge_silences(result) if merge_silences else result


def arpabet(text: str) -> list[str]:
    """Phones of an ARPABET transcript, as `fold` takes them: "HH AH0 SIL" is hh, ah, sil.

    Split at white space, in lower case, less a closing stress digit 0, 1 or 2. SIL stays, as sil:
    whoever counts errors without silences leaves it out on both sides. Noises such as +NSN+ or spn
    are a ValueError. Of the 39 phones of the CMU dictionary (speechocean762, LibriSpeech) `fold`
    makes 37, as AO joins AA and ZH joins SH; with sil there are 38 classes, for it has no flap, dx.
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
