"""Which segments are trained on, validated on and tested on."""

import numpy as np
import pytest

from augury.corpus.manifest import assemble
from augury.downstream.settings import EvaluateSettings
from augury.downstream.splits import assign_splits


@pytest.fixture
def make_corpus(tmp_path):
    def make(**columns):
        count = len(next(iter(columns.values())))
        names = [f"{k}.wav" for k in range(count)]
        for name in names:
            (tmp_path / name).touch()
        return assemble(
            tmp_path, tmp_path, names, starts=None, ends=None,
            columns={k: list(v) for k, v in columns.items()}, rows=range(1, count + 1),
        )  # fmt: skip

    return make


def split_of(corpus, *, known_speakers=False, fold=0, **choices):
    settings = EvaluateSettings(label="label", **choices)
    return assign_splits(corpus, settings, known_speakers=known_speakers, fold=fold).tolist()


def test_published_splits_are_used(make_corpus):
    split = ["train", "test", "dev", "", "train"]
    corpus = make_corpus(split=split, speaker=list("abcde"))
    assert split_of(corpus) == ["train", "test", "validation", "", "train"]


def test_dev_is_trained_on_where_there_is_no_train(make_corpus):
    """As VoxCeleb1 has it; validation is of the speakers trained on."""
    split = ["dev"] * 20 + ["test"] * 4
    speaker = [str(k % 4) for k in range(20)] + ["9"] * 4
    result = split_of(make_corpus(split=split, speaker=speaker), known_speakers=True)
    assert result[20:] == ["test"] * 4
    assert sorted(result[:20]) == ["train"] * 18 + ["validation"] * 2


def test_without_splits_speakers_are_held_out_whole(make_corpus):
    speaker = [f"s{k % 10}" for k in range(60)]
    split = split_of(make_corpus(speaker=speaker))
    splits_of = {}
    for name, assigned in zip(speaker, split, strict=True):
        splits_of.setdefault(name, set()).add(assigned)
    assert all(len(name) == 1 for name in splits_of.values())
    counts = sorted(next(iter(name)) for name in splits_of.values())
    assert counts == ["test"] * 2 + ["train"] * 7 + ["validation"]
    assert split == split_of(make_corpus(speaker=speaker))  # the same on every run


def test_without_speakers_recordings_are_held_out(make_corpus):
    split = split_of(make_corpus(label=["x"] * 20))
    assert sorted(split) == ["test"] * 4 + ["train"] * 14 + ["validation"] * 2


def test_every_speaker_is_in_the_test_of_one_fold(make_corpus):
    speaker = [f"s{k % 6}" for k in range(30)]
    corpus = make_corpus(speaker=speaker, split=["train"] * 30)
    tested = [np.array(split_of(corpus, folds=3, fold=k)) == "test" for k in range(3)]
    assert (np.sum(tested, axis=0) == 1).all()
    assert [len({s for s, t in zip(speaker, fold, strict=True) if t}) for fold in tested] == [
        2,
        2,
        2,
    ]
    with pytest.raises(ValueError, match="6 speakers or recordings make no 7 folds"):
        split_of(corpus, folds=7)


def test_speakers_in_train_and_test_are_refused_unless_asked_for(make_corpus):
    corpus = make_corpus(split=["train", "train", "dev", "test"], speaker=["a", "b", "c", "b"])
    with pytest.raises(ValueError, match=r"1 speakers are in both train and test \(b.*--shared"):
        split_of(corpus)
    assert split_of(corpus, shared_speakers=True)[3] == "test"


def test_missing_splits_are_refused(make_corpus):
    corpus = make_corpus(split=["train", "test", "test"], speaker=["a", "b", "c"])
    with pytest.raises(ValueError, match="no segment is left for the validation split"):
        split_of(corpus)
    with pytest.raises(ValueError, match="no segment is of split 'eval'"):
        split_of(corpus, test="eval")
    with pytest.raises(ValueError, match=r"test is 1\.5, but must be a share"):
        split_of(corpus, test="1.5")


@pytest.mark.parametrize("share", ["0", "-0.1", "0.91", "nan"])
def test_shares_out_of_range_are_refused(make_corpus, share):
    corpus = make_corpus(label=["x"] * 10)
    for choice in ("test", "validation"):
        with pytest.raises(
            ValueError, match=f"{choice} is {share}, but must be a share above 0, up"
        ):
            split_of(corpus, **{choice: share})


def test_the_largest_share_is_nine_tenths(make_corpus):
    split = split_of(make_corpus(label=["x"] * 20), test="0.9")
    assert sorted(split) == ["test"] * 18 + ["train"] + ["validation"]
    split = split_of(make_corpus(label=["x"] * 20), test="0.5", validation="0.9")
    assert sorted(split) == ["test"] * 10 + ["train"] + ["validation"] * 9


def test_the_first_fold_is_tested_on_unless_another_is_named(make_corpus):
    corpus = make_corpus(speaker=list("abcdef"))
    settings = EvaluateSettings(label="label", folds=3)
    default = assign_splits(corpus, settings, known_speakers=False).tolist()
    assert default == split_of(corpus, folds=3, fold=0)
    assert default != split_of(corpus, folds=3, fold=1)


def test_there_may_be_as_many_folds_as_speakers(make_corpus):
    corpus = make_corpus(speaker=list("abcdef"))
    tested = [split_of(corpus, folds=6, fold=fold).index("test") for fold in range(6)]
    assert sorted(tested) == list(range(6))


def test_one_of_two_speakers_is_held_out_but_never_the_only_one(make_corpus):
    corpus = make_corpus(split=["train", "train", "test"], speaker=list("abc"))
    assert sorted(split_of(corpus)) == ["test", "train", "validation"]
    alone = make_corpus(split=["train", "train", "test"], speaker=["a", "a", "c"])
    with pytest.raises(ValueError, match="no segment is left for the validation split"):
        split_of(alone)


def test_settings_that_contradict_each_other():
    with pytest.raises(ValueError, match="folds is 1, but must be 0"):
        EvaluateSettings(label="x", folds=1)
    with pytest.raises(ValueError, match="folds and test can't be combined"):
        EvaluateSettings(label="x", folds=3, test="test")
    with pytest.raises(ValueError, match="mode is 'froze', but must be frozen or finetune"):
        EvaluateSettings(label="x", mode="froze")
    with pytest.raises(ValueError, match="exclude is 'SIL', but must be a list of texts"):
        EvaluateSettings(label="x", exclude="SIL")
    assert EvaluateSettings(label="x").to_dict()["exclude"] == []
