"""Evaluation as a whole, on sentences of tones: results, resuming, and what is refused."""

import csv
import json
import os
import signal
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from augury import pretrain, read_corpus
from augury.cli.app import app
from reporters import Recorder

import commands
import toy

torch = pytest.importorskip("torch")

from augury import evaluate  # noqa: E402
from augury.downstream.result import Evaluation  # noqa: E402
from augury.downstream.settings import ClassifySettings  # noqa: E402
from augury.downstream.tasks.classify import Classify  # noqa: E402
from augury.downstream.tasks.task import DownstreamModel  # noqa: E402
from augury.errors import UnusableFile  # noqa: E402
from augury.learning.training import Stopped  # noqa: E402
from augury.pretraining.encode import load_encoder  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_store")


@pytest.fixture
def manifests(tmp_path):
    """Manifests of sentences and of tones, and settings of a random encoder."""
    (tmp_path / "tiny.toml").write_text(toy.preset(epochs=2, longest=3.0, dropout=0.2))
    return toy.sentences(tmp_path)


def run(manifest, encoders="mel", name="out", **choices):
    folder = manifest.parent
    defaults = {
        "label": "phone", "jobs": 1, "seeds": 1, "epochs": 6, "batch_seconds": 10.0,
        "longest": 3.0, "learning_rate": 0.01, "random_encoder": str(folder / "tiny.toml"),
    }  # fmt: skip
    task = choices.pop("task", "classify")
    return evaluate(
        task, read_corpus(manifest), encoders, out=folder / name, **(defaults | choices)
    )


@pytest.fixture
def encoder(manifests):
    folder = manifests[0].parent
    pretrain(
        read_corpus(manifests[0]), ["toy:level"], out=folder / "encoder",
        preset=folder / "tiny.toml", jobs=1,
    )  # fmt: skip
    return folder / "encoder"


def weights(folder, name="mel-frozen", seed=0):
    return (folder / "runs" / name / f"seed{seed}" / "model.safetensors").read_bytes()


def test_the_results_folder_is_complete(manifests, encoder):
    evaluation = run(manifests[1], ["mel", "random", encoder], seeds=2)
    folder = manifests[1].parent / "out"
    assert {path.name for path in folder.iterdir()} == {
        "quarantine.csv", "report.html", "results.csv", "results.json", "runs", "state",
    }  # fmt: skip
    assert Evaluation.read(folder) == evaluation
    assert [(model.name, model.pseudo_labels) for model in evaluation.models] == [
        ("mel", None), ("random", None), ("encoder", ("toy:level",)),
    ]  # fmt: skip
    assert [model.baseline for model in evaluation.models] == [True, True, False]
    by_name = {model.name: model for model in evaluation.models}
    assert by_name["mel"].mean < 0.2  # of .67 by chance
    assert (
        by_name["mel"].outcomes[0].score != by_name["mel"].outcomes[1].score
        or by_name["mel"].standard_deviation == 0
    )
    assert evaluation.data["test"] == {"segments": 18, "hours": 0.0015, "speakers": 1}
    assert evaluation.data["left_out"] == {}
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [(row["encoder"], row["seed"]) for row in rows] == [
        (name, seed) for name in ("mel", "random", "encoder") for seed in "01"
    ]
    for model in evaluation.models:
        for outcome in model.outcomes:
            assert sum(map(sum, outcome.confusion.counts)) == 18
            assert outcome.about["seconds"] > 0
            assert len(outcome.history) == 6


def test_two_runs_with_one_seed_are_identical(manifests):
    for name in ("a", "b"):
        run(manifests[1], name=name)
    assert weights(manifests[1].parent / "a") == weights(manifests[1].parent / "b")


def test_finished_runs_are_read_and_others_added(manifests, monkeypatch):
    first = run(manifests[1], seeds=1)
    monkeypatch.setattr("augury.downstream.run.TrainingLoop", None)  # must not be called
    again = run(manifests[1], seeds=1)
    assert again == first
    monkeypatch.undo()
    both = run(manifests[1], "random", seeds=1, name="out")
    assert [model.name for model in both.models] == ["mel", "random"]
    assert both.models[0] == first.models[0]


def test_a_stopped_evaluation_resumes_to_the_same_bytes(manifests):
    whole = run(manifests[1], ["random"], name="whole", cache=False, folds=2)

    def stop(moment):
        if moment.step == stop.at:
            os.kill(os.getpid(), signal.SIGTERM)

    for stop.at in (3, 1):  # in the first fold, and in the second
        with pytest.raises(Stopped):
            run(
                manifests[1],
                ["random"],
                name="stopped",
                cache=False,
                folds=2,
                reporter=Recorder(on_training=stop),
            )
        stop.at = None
    again = run(manifests[1], ["random"], name="stopped", cache=False, folds=2)
    assert again.models[0].outcomes[0].score == whole.models[0].outcomes[0].score
    for name in ("model-0.safetensors", "model-1.safetensors"):
        ours, theirs = (
            (manifests[1].parent / where / "runs/random-frozen/seed0" / name).read_bytes()
            for where in ("whole", "stopped")
        )
        assert ours == theirs


def test_a_frozen_encoder_does_not_change(manifests, encoder):
    before = {k: v.clone() for k, v in load_encoder(encoder).state_dict().items()}
    outcomes = {}
    for cache in (True, False):
        name = f"cache-{cache}"
        outcomes[cache] = run(manifests[1], encoder, name=name, cache=cache).models[0].outcomes[0]
        if not cache:  # the encoder is in the model, and has not changed: no batch's statistics
            from safetensors.torch import load

            state = load(weights(manifests[1].parent / name, "encoder-frozen"))
            for key, value in before.items():
                assert torch.equal(state[f"encoder.{key}"], value), key
    # Cached features are in half precision.
    for cached, computed in zip(outcomes[True].history, outcomes[False].history, strict=True):
        for loss in ("cross_entropy", "error"):
            assert cached["training"][loss] == pytest.approx(computed["training"][loss], abs=2e-2)


def test_a_frozen_encoder_has_no_dropout(encoder):
    class NoHead(torch.nn.Module):
        pass

    loaded = load_encoder(encoder)
    model = DownstreamModel(NoHead(), np.zeros(16), np.ones(16), loaded, frozen=True).train()
    assert not any(module.training for module in model.encoder.modules())
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    finetuned = DownstreamModel(NoHead(), np.zeros(16), np.ones(16), loaded, frozen=False).train()
    assert all(module.training for module in finetuned.encoder.modules())
    assert all(parameter.requires_grad for parameter in finetuned.encoder.parameters())


def test_finetuning_changes_the_encoder(manifests, encoder):
    from safetensors.torch import load

    evaluation = run(manifests[1], ["mel", encoder], mode="finetune", encoder_rate=0.05)
    assert [(model.name, model.mode) for model in evaluation.models] == [
        ("mel", "frozen"), ("encoder", "finetune"),
    ]  # fmt: skip
    state = load(weights(manifests[1].parent / "out", "encoder-finetune"))
    before = load_encoder(encoder).state_dict()
    changed = [k for k, v in before.items() if not torch.equal(state[f"encoder.{k}"], v)]
    assert "dense.0.weight" in changed
    assert {"mean", "standard_deviation"} <= before.keys() - set(changed)
    # One folder may have frozen and finetuned models.
    both = run(manifests[1], ["mel", encoder], mode="frozen", encoder_rate=0.05)
    assert [(model.name, model.mode) for model in both.models] == [
        ("mel", "frozen"), ("encoder", "finetune"), ("encoder", "frozen"),
    ]  # fmt: skip


def test_folds_test_every_segment_once(manifests):
    evaluation = run(manifests[1], folds=3)
    outcome = evaluation.models[0].outcomes[0]
    assert sum(map(sum, outcome.confusion.counts)) == 108
    assert evaluation.data["test"]["speakers"] == 6
    assert outcome.interval is not None
    assert outcome.interval[0] <= outcome.score <= outcome.interval[1]


def test_another_evaluation_in_the_folder_is_refused(manifests, encoder):
    run(manifests[1], encoder)
    with pytest.raises(ValueError, match=r"holds another evaluation: epochs 3, not 6 there"):
        run(manifests[1], epochs=3)
    with pytest.raises(ValueError, match=r"holds another evaluation: task asr, not classify"):
        run(manifests[0], task="asr", label="text")
    path = encoder / "model.safetensors"
    from safetensors.torch import load, save

    state = load(path.read_bytes())
    state["encoder.dense.0.bias"] += 1
    path.write_bytes(save(state))
    with pytest.raises(ValueError, match="perhaps the encoder encoder has changed since"):
        run(manifests[1], encoder)
    (manifests[1].parent / "out/results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not a results\.json of this version"):
        run(manifests[1], encoder)


# ------------------------------------------------------------------------------- a user's own task


@dataclass(frozen=True)
class LouderSettings(ClassifySettings):
    """One more choice."""

    louder: float = 1.0


class LouderClassify(Classify):
    """A task of the user's, which is another's with another head."""

    Settings: ClassVar = LouderSettings

    def head(self, width):
        probe = super().head(width)
        probe.layers[-1].weight.data *= self.settings.louder
        return probe


def test_a_users_own_task(manifests, tmp_path, monkeypatch):
    (tmp_path / "louder.toml").write_text("louder = 2.0\n")
    evaluation = run(
        manifests[1],
        task="downstream.test_evaluate:LouderClassify",
        preset=tmp_path / "louder.toml",
    )
    assert evaluation.task == "downstream.test_evaluate:LouderClassify"
    assert evaluation.settings["louder"] == 2.0
    assert evaluation.models[0].mean < 0.2
    assert (
        run(manifests[1], task="downstream.test_evaluate:LouderClassify", name="own").settings[
            "louder"
        ]
        == 1.0
    )
    monkeypatch.setattr("augury.downstream.tasks.task.source_version", lambda *_: "as edited")
    with pytest.raises(ValueError, match=r"holds another evaluation: data\.code as edited, not"):
        run(manifests[1], task="downstream.test_evaluate:LouderClassify", name="own")


# --------------------------------------------------------------------------------- what is refused


def test_wrong_arguments_and_corpora_are_refused(manifests, tmp_path):
    for choices, message in (
        ({"task": "vad"}, "no such task; there are asr, speaker, classify, or your own"),
        ({"task": "nowhere:Task"}, "nowhere:Task: .*PYTHONPATH"),
        ({"task": "toy:Task"}, "toy:Task: .*PYTHONPATH"),
        ({"label": "phon"}, "no label column 'phon'.*did you mean phone"),
        ({"epoch": 3}, "epoch: no such setting of the task classify; did you mean epochs"),
        ({"preset": "smal"}, "no such preset.*did you mean small"),
        ({"encoders": tmp_path}, r"no config\.toml here"),
        ({"encoders": "mell"}, "mell: no such encoder; give a folder"),
        ({"encoders": ["mel", "mel"]}, "two encoders are named mel"),
        ({"encoders": []}, "there is no encoder"),
        ({"seeds": 0}, "seeds is 0"),
        ({"exclude": ("low", "lo")}, "no segment has the phone 'lo', which is to be excluded"),
        ({"exclude": ("low", "high")}, "phone is 'middle' for all training segments"),
        ({"batch_seconds": 1.0}, "less than the longest stretch"),
    ):
        with pytest.raises(ValueError, match=message):
            run(manifests[1], name="no", **choices)
    lines = manifests[1].read_text().splitlines()
    manifests[1].write_text("\n".join(line.replace(",low,", ",,") for line in lines))
    evaluation = run(manifests[1], name="empty", max_bad=0.6)
    assert evaluation.data["left_out"]["no-label"] == sum(",low," in line for line in lines)
    with pytest.raises(ValueError, match=r"can't be used \(\d+ no-label\)"):
        run(manifests[1], name="empty2")
    manifests[1].write_text("path,phone\n../elsewhere.wav,a\n")
    with pytest.raises(ValueError, match=r"1 of 1 segments can't be used.*elsewhere"):
        run(manifests[1], name="outside")
    assert "elsewhere" in (manifests[1].parent / "outside/quarantine.csv").read_text()


def test_a_file_in_place_of_a_folder_is_the_users_error(manifests):
    out = manifests[1].parent / "out"
    out.mkdir()
    (out / "runs").write_text("")
    with pytest.raises(UnusableFile, match="runs"):
        run(manifests[1])


def test_broken_recordings_are_reported(manifests):
    (manifests[1].parent / "s0-0.wav").write_bytes(b"no sound")
    evaluation = run(manifests[1])
    assert sum(evaluation.data["left_out"].values()) == 3
    text = (manifests[1].parent / "out/quarantine.csv").read_text()
    assert text.count("s0-0.wav") >= 3
    with pytest.raises(ValueError, match=r"more than the 0% allowed"):
        run(manifests[1], name="strict", max_bad=0.0)
    assert "s0-0.wav" in (manifests[1].parent / "strict/quarantine.csv").read_text()


# --------------------------------------------------------------------------- torchrun, command line


def test_two_processes_train_as_one(manifests):
    """gloo on two CPU processes: the scores of one process, to rounding; and what it writes."""
    folder = manifests[1].parent
    common = [
        "evaluate", "classify", str(manifests[1]), "--label", "phone", "--encoder", "random",
        "--seeds", "1", "--epochs", "3", "--jobs", "1", "--device", "cpu", "--set",
        "batch_seconds=10.0", "--set", "longest=3.0",
        "--set", f"random_encoder={folder / 'tiny.toml'}",
    ]  # fmt: skip
    output = folder / "output"
    assert commands.run([*common, "--out", folder / "single"], output) == 0, output.read_text()
    two = commands.start_together([*common, "--out", folder / "double"], output)
    assert [process.wait() for process in two] == [0, 0]
    texts = [path.read_text() for path in (output, commands.of_rank(output, 0))]
    assert [text.count("report:") for text in texts] == [1, 1]
    assert "report:" not in commands.of_rank(output, 1).read_text()
    evaluations = [Evaluation.read(folder / name) for name in ("single", "double")]
    for ours, theirs in zip(
        *(evaluation.models[0].outcomes[0].history for evaluation in evaluations), strict=True
    ):
        for split in ("training", "validation"):
            for loss in ("cross_entropy", "error"):
                # Sums in another order; batch norm of two processes by sums of squares.
                assert ours[split][loss] == pytest.approx(theirs[split][loss], rel=1e-4)


def test_the_command_line(manifests, encoder):
    folder = manifests[1].parent

    def call(*words):
        return CliRunner().invoke(app, ["evaluate", *words])

    common = ["--label", "phone", "--seeds", "2", "--jobs", "1", "--out", str(folder / "cli")]
    result = call("classify", str(manifests[1]), *common, "--epochs", "2", "--encoder", "mel",
                 "--encoder", str(encoder), "--set", "hidden=8")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "lower is better" in result.output
    assert "encoder" in result.output
    assert json.loads((folder / "cli/results.json").read_text())["settings"]["hidden"] == 8
    for words, message in (
        (("asr", str(manifests[0])), "say with --label"),
        (
            ("classify", str(manifests[1]), "--label", "phone", "--set", "hidden"),
            "write NAME=VALUE",
        ),
        (
            ("classify", str(manifests[1]), "--label", "phone", "--set", "hiden=1"),
            "did you mean hidden",
        ),
        (
            ("classify", str(manifests[1]), "--label", "phone", "--mode", "thaw"),
            "must be frozen or",
        ),
    ):
        result = call(*words, "--out", str(folder / "no"))
        assert result.exit_code == 2, result.output
        assert message in result.output.replace("\n", " ")
