from __future__ import annotations

import pytest

from augury.downstream.scores.phones import GROUPS_39, PHONES_48, arpabet, fold

# TIMIT's phoncode.doc, in its order and its groups: 61.
STOPS = "b d g p t k dx q"
CLOSURES = "bcl dcl gcl pcl tcl kcl"
AFFRICATES = "jh ch"
FRICATIVES = "s sh z zh f th v dh"
NASALS = "m n ng em en eng nx"
SEMIVOWELS = "l r w y hh hv el"
VOWELS = "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h"
OTHERS = "pau epi h#"
TIMIT = " ".join(
    [STOPS, CLOSURES, AFFRICATES, FRICATIVES, NASALS, SEMIVOWELS, VOWELS, OTHERS]
).split()

# SpeechBrain's and Kaldi's 61 to 39, of what is not left as it is.
RENAMED_39 = {
    "ao": "aa",
    "ax": "ah",
    "ax-h": "ah",
    "axr": "er",
    "hv": "hh",
    "ix": "ih",
    "el": "l",
    "em": "m",
    "en": "n",
    "nx": "n",
    "eng": "ng",
    "zh": "sh",
    "ux": "uw",
    **dict.fromkeys(["pcl", "tcl", "kcl", "bcl", "dcl", "gcl", "h#", "pau", "epi"], "sil"),
}
# Kaldi's 60 to 48, likewise.
RENAMED_48 = {
    "ax-h": "ax",
    "axr": "er",
    "hv": "hh",
    "em": "m",
    "nx": "n",
    "eng": "ng",
    "ux": "uw",
    **dict.fromkeys(["pcl", "tcl", "kcl"], "cl"),
    **dict.fromkeys(["bcl", "dcl", "gcl"], "vcl"),
    **dict.fromkeys(["h#", "pau"], "sil"),
}
CMU = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W "
    "Y Z ZH"
)


def test_each_of_the_61_is_in_the_table_once():
    listed = [label for labels in PHONES_48.values() for label in labels.split()]
    assert len(TIMIT) == len(set(TIMIT)) == 61
    assert sorted([*listed, "q"]) == sorted(TIMIT)
    grouped = [phone for phones in GROUPS_39.values() for phone in phones.split()]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= set(PHONES_48)


@pytest.mark.parametrize(("to", "renamed"), [(48, RENAMED_48), (39, RENAMED_39)])
def test_folding_as_published(to, renamed):
    expected = [renamed.get(phone, phone) for phone in TIMIT if phone != "q"]
    assert fold(TIMIT, to=to) == expected
    assert len(set(expected)) == to


def test_39_is_the_default_and_a_sentence_is_folded_in_its_order():
    # The beginning of NLTK's dr3-falk0/si658, then a q and an axr.
    assert fold(["h#", "dh", "ix", "s", "tcl", "t", "r", "ey", "q", "axr"]) == [
        "sil",
        "dh",
        "ih",
        "s",
        "sil",
        "t",
        "r",
        "ey",
        "er",
    ]


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("first", [48, 39])
def test_folding_again_changes_nothing(first, merge):
    once = fold(TIMIT, to=first, merge_silences=merge)
    assert fold(once, to=first, merge_silences=merge) == once
    assert fold(once, merge_silences=merge) == fold(TIMIT, merge_silences=merge)


def test_silences_are_merged_only_if_asked_for():
    phones = ["h#", "q", "h#", "tcl", "t", "tcl", "pau", "epi", "q", "q"]
    assert fold(phones) == ["sil", "sil", "sil", "t", "sil", "sil", "sil"]
    assert fold(phones, merge_silences=True) == ["sil", "t", "sil"]
    assert fold(phones, to=48, merge_silences=True) == ["sil", "cl", "t", "cl", "sil", "epi"]
    assert fold(["s", "s", "pau"], merge_silences=True) == ["s", "s", "sil"]


def test_arpabet_without_stress_and_case():
    assert arpabet("HH AH0 L OW1\tSIL  ao2 AX-H\n") == ["hh", "ah", "l", "ow", "sil", "ao", "ax-h"]
    assert arpabet("") == []
    assert len(set(arpabet(CMU))) == 39
    assert set(fold(arpabet(CMU))) == set(fold(TIMIT)) - {"dx", "sil"}


def test_no_phones_and_only_q_give_no_phones():
    assert fold([]) == fold(["q"]) == []


def test_unknown_phones_are_refused():
    with pytest.raises(ValueError, match=r"'AH0' is none of TIMIT's 61 phones.* by arpabet\(\)"):
        fold(["aa", "AH0"])
    with pytest.raises(ValueError, match=r"'\+nsn\+' is none .* leave it out or rename it"):
        arpabet("SIL +NSN+ AA")
    with pytest.raises(ValueError, match="'ah3' is none"):
        arpabet("AH3")
    with pytest.raises(ValueError, match="'' is none"):
        fold([""])
    with pytest.raises(ValueError, match="to is 61, but TIMIT's phones are folded to 48 or 39"):
        fold(["aa"], to=61)


def test_real_transcripts_fold(shared_data):
    lines = [line for path in shared_data.glob("timit_sample/*/*.phn") for line in path.open()]
    phones = [line.split()[2] for line in lines]
    assert set(phones) == set(TIMIT)  # the sample has them all
    assert len(set(fold(phones))) == 39
    table = (shared_data / "speechocean762" / "phones.tsv").read_text().splitlines()[1:]
    spoken = " ".join(p for line in table if (p := line.split("\t")[3]) != "+NSN+")
    assert len(set(fold(arpabet(spoken)))) == 38
