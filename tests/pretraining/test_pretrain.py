"""The whole of pretraining, on a toy corpus and a tiny encoder; the small preset on real speech."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from augury import audio, encode, from_ranking, load_encoder, pretrain, rank, read_corpus
from augury.cli.app import app
from augury.errors import InputError
from augury.pretraining.choice import choose, read_weights
from ranking.test_report import candidate, ranking
from reporters import Recorder

import commands
import toy

torch = pytest.importorskip("torch")

from augury.learning.training import Stopped  # noqa: E402
from augury.pretraining import config  # noqa: E402
from augury.pretraining.encode import encode_log_mel  # noqa: E402
from augury.pretraining.result import Pretrained  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_store")


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "tiny.toml").write_text(toy.preset(dropout=0.1))
    return toy.corpus(tmp_path)


def run(manifest, labels=("toy:level",), name="out", **choices):
    folder = manifest.parent
    usual = {"out": folder / name, "preset": folder / "tiny.toml", "jobs": 1}
    return pretrain(read_corpus(manifest), labels, **(usual | choices))


def tensors(done):
    return (done.folder / "model.safetensors").read_bytes()


def test_a_folder_that_says_all(manifest):
    done = run(manifest, {"toy:level": 1.0, "toy:bands": 0.5, "column:colour": 0.1})
    names = {path.name for path in done.folder.iterdir()}
    expected = {"README.md", "config.toml", "history.json", "log.jsonl", "model.safetensors"}
    assert names == expected | {"quarantine.csv", "report.html", "state"}
    assert [path.name for path in (done.folder / "state").iterdir()] == ["lock"]
    assert len(done.history) == 3
    again = config.read_config(done.folder)
    assert again.settings == done.config.settings
    assert [target.name for target in again.targets] == [
        "mel",
        "mfcc",
        "toy:level",
        "toy:bands",
        "column:colour",
    ]
    assert again.targets[4].categories == ("blue", "red")
    assert again.targets[3].weight == 0.5
    for target, other in zip(again.targets, done.config.targets, strict=True):
        assert np.array_equal(target.mean, other.mean)
    assert again.key() == done.config.key()
    assert set(done.result["validation"]) == {"loss", *(target.name for target in again.targets)}
    # Median is the best constant for an absolute error, so never worse than the mean.
    for name in ("toy:level", "toy:bands"):
        assert done.result["constant_guess"][name] <= done.result["mean_guess"][name] + 1e-6


def test_two_runs_with_one_seed_are_identical(manifest):
    first, second, other = (
        run(manifest, name=n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert tensors(first) == tensors(second)
    assert tensors(first) != tensors(other)
    assert first.history == second.history


def test_a_finished_run_is_read_not_repeated(manifest):
    first = run(manifest)
    (manifest.parent / "store").rename(manifest.parent / "gone")
    again = run(manifest)
    assert again.result == first.result
    assert again.history == first.history


def test_what_pretrain_returned_is_read_from_its_folder(manifest):
    done = run(manifest, {"toy:level": 1.0, "column:colour": 0.1}, epochs=2)
    assert Pretrained.read(done.folder) == done
    assert Pretrained.read(str(done.folder)).result["epochs"] == 2
    assert done.skipped_batches == ()
    other = run(manifest, {"toy:level": 0.5, "column:colour": 0.1}, name="other", epochs=2)
    assert other != done


def test_a_folder_without_a_finished_pretraining_is_refused(manifest):
    with pytest.raises(InputError, match=r"no config\.toml here"):
        Pretrained.read(manifest.parent)
    run(manifest, epochs=1, prepare_only=True)
    with pytest.raises(InputError, match="its pretraining has not ended"):
        Pretrained.read(manifest.parent / "out")
    history = run(manifest, epochs=1).folder / "history.json"
    for text, message in (("[", "not JSON"), ("{}", "not the history"), ("[]", "not the history")):
        history.write_text(text)
        with pytest.raises(InputError, match=rf"history\.json: {message}"):
            Pretrained.read(history.parent)
    history.unlink()
    with pytest.raises(InputError, match=r"history\.json: no such file"):
        Pretrained.read(history.parent)


def test_the_callers_random_numbers_are_left_alone(manifest):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(manifest, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_pseudo_label_without_values_among_what_is_held_out(manifest):
    lines = manifest.read_text().splitlines()
    lines[0] += ",split,rare"
    for k in range(1, len(lines)):
        held_out = k % 4 == 0
        lines[k] += ",dev," if held_out else f",train,{k}"
    manifest.write_text("\n".join(lines) + "\n")
    done = run(manifest, ["column:rare"], split="train", validation="dev")
    assert "column:rare" in done.result["training"]
    assert "column:rare" not in done.result["constant_guess"]
    assert "nan" not in (done.folder / "config.toml").read_text()
    from augury.cli.pretrain import show_pretraining

    show_pretraining(done)


def test_choices_beside_a_preset(manifest):
    done = run(manifest, epochs=1, encoder={"dropout": 0.0})
    assert done.config.settings.encoder.channels == (4,)  # the preset's, not the paper's
    assert done.config.settings.encoder.dropout == 0.0


def test_it_learns_what_it_is_asked_to(manifest):
    done = run(manifest, epochs=40)
    for name in ("toy:level", "mel"):  # measured: .45 and .66 of it; a tiny encoder
        assert done.result["validation"][name] < 0.75 * done.result["constant_guess"][name]


def test_it_overfits_eight_utterances(manifest):
    lines = manifest.read_text().splitlines()[:9]
    manifest.write_text("\n".join(lines) + "\n")
    (manifest.parent / "tiny.toml").write_text(
        toy.preset(dropout=0.0).replace("units = 8", "units = 64").replace("= 16", "= 64")
    )
    # The pseudo-label alone: reconstruction through so few dimensions can't reach 0.
    done = run(
        manifest, epochs=100, validation="0", mel=0.0, mfcc=0.0, learning_rate=0.02,
        schedule="cosine",
    )  # fmt: skip
    assert done.history[0]["training"]["toy:level"] > 0.5
    assert done.history[-1]["training"]["toy:level"] < 0.05


def test_reconstruction_alone(manifest):
    done = run(manifest, [])
    assert set(done.result["training"]) == {"mel", "mfcc", "loss"}


def test_two_runs_at_once_in_a_folder_are_refused(manifest):
    def second(moment):
        if moment.step == 1:
            with pytest.raises(ValueError, match="another process trains in it; wait for it"):
                run(manifest)

    assert run(manifest, reporter=Recorder(on_training=second)).result["epochs"] == 3


def test_another_run_in_the_folder_is_refused(manifest, tmp_path):
    run(manifest)
    with pytest.raises(ValueError, match=r"holds another run: seed 1, not 0 there.*another --out"):
        run(manifest, seed=1)
    with pytest.raises(ValueError, match=r"pseudo_labels\.toy:bands 1.0, not absent; "):
        run(manifest, ["toy:bands"])
    soundfile.write(tmp_path / "more.wav", toy.voice(np.random.default_rng(5), 0, 0.5), 16_000)
    with manifest.open("a") as file:
        file.write("more.wav,low,20,red\n")
    with pytest.raises(ValueError, match=r"holds another run: data\.segments"):
        run(manifest)


def test_stopped_it_goes_on_without_extracting_again(manifest, monkeypatch):
    whole = run(manifest, name="whole")

    def stop(moment):
        if moment.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        run(manifest, name="stopped", reporter=Recorder(on_training=stop))
    monkeypatch.setattr("augury.pretraining.pretrain.prepare", None)  # must not be called
    again = run(manifest, name="stopped")
    assert tensors(again) == tensors(whole)
    assert again.history == whole.history


def test_killed_again_and_again_it_ends_with_the_same_bytes(manifest):
    """kill -9 at random moments, with checkpoints every 0.6 s."""
    folder = manifest.parent
    words = [
        "pretrain", manifest, "--pseudo-labels", "toy:level", "--preset", folder / "tiny.toml",
        "--epochs", 40, "--minutes", 0.01, "--jobs", 1, "--out",
    ]  # fmt: skip
    # A process of its own too: sums round as torch's threads share them, and this one may have
    # been started with others than its children.
    assert commands.run([*words, folder / "whole"]) == 0
    words.append(folder / "killed")
    rng, kills = random.Random(0), 0
    log = folder / "killed/log.jsonl"
    for _ in range(4):
        before = log.stat().st_size if log.exists() else 0
        killed = commands.Command(words)
        while not killed.ended():  # let it get on, so that kills fall into training
            if log.exists() and log.stat().st_size > before:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        if not killed.ended():
            killed.kill()
            kills += 1
        if killed.wait() == 0:
            break
    assert kills >= 2  # on a fast machine it may end before more
    assert killed.wait() == 0 or commands.run(words) == 0
    for name in ("history.json", "model.safetensors"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def words_of_two(manifest, name, epochs):
    folder = manifest.parent
    return [
        "pretrain", manifest, "--pseudo-labels", "toy:level,column:colour", "--preset",
        folder / "tiny.toml", "--out", folder / name, "--device", "cpu", "--epochs", epochs,
    ]  # fmt: skip


def test_two_processes_train_as_one_with_the_same_batches(manifest):
    """gloo on two CPU processes: the loss curve of one process, to rounding."""
    folder = manifest.parent
    # Dropout's masks differ between processes; and Adam follows the sign of a gradient that is all
    # rounding unless epsilon is larger.
    (folder / "tiny.toml").write_text("epsilon = 0.1\n" + toy.preset(dropout=0.0))
    alone = run(manifest, ["toy:level", "column:colour"], name="alone")
    output = folder / "output"
    two = commands.start_together(words_of_two(manifest, "two", 3), output)
    assert [process.wait() for process in two] == [0, 0]
    texts = [commands.of_rank(output, rank).read_text() for rank in (0, 1)]
    assert [text.count("report:") for text in texts] == [1, 0]
    history = json.loads((folder / "two/history.json").read_text())
    for ours, theirs in zip(history, alone.history, strict=True):
        for kind in ("training", "validation"):
            for name, value in theirs[kind].items():
                # Sums in another order, float32, grown over three epochs of Adam.
                assert ours[kind][name] == pytest.approx(value, rel=1e-5), (ours["epoch"], name)
    result = config.read_config(folder / "two").result
    for kind in ("constant_guess", "mean_guess"):
        assert result[kind] == pytest.approx(alone.result[kind], rel=1e-6)


def test_two_processes_asked_to_stop_go_on_together(manifest):
    folder = manifest.parent
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "augury"]  # fmt: skip
    stopped = subprocess.Popen(
        [*torchrun, *map(str, words_of_two(manifest, "stopped", 30))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log = folder / "stopped/log.jsonl"
    while stopped.poll() is None and not (log.exists() and log.stat().st_size > 1000):
        time.sleep(0.02)
    stopped.terminate()  # torchrun hands it on
    assert stopped.wait(60) != 0
    assert not (folder / "stopped/model.safetensors").exists()
    for name in ("stopped", "whole"):
        two = commands.start_together(words_of_two(manifest, name, 30), folder / "output")
        assert [process.wait() for process in two] == [0, 0]
    whole = (folder / "whole/model.safetensors").read_bytes()
    assert (folder / "stopped/model.safetensors").read_bytes() == whole


def test_tensorboard_where_it_is_not_installed(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard, or leave it out"):
        run(manifest, tensorboard=True)


def test_preparing_only(manifest):
    assert run(manifest, prepare_only=True) is None
    folder = manifest.parent / "out"
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(ValueError, match="its pretraining has not ended"):
        load_encoder(folder)
    assert run(manifest).result["epochs"] == 3


# ------------------------------------------------------------------------------------- encoding


def test_the_encoder_comes_back_in_eval_mode_with_its_statistics(manifest):
    done = run(manifest)
    encoder = load_encoder(done.folder)
    assert not encoder.training
    np.testing.assert_allclose(encoder.mean, done.config.targets[0].mean, rtol=1e-6)
    signal = toy.voice(np.random.default_rng(0), 1, 1.0)
    features = encode(encoder, signal)
    assert features.shape == (len(audio.log_mel(signal)), 16)
    np.testing.assert_allclose(features, encoder(torch.from_numpy(signal))[0].detach(), atol=1e-5)
    assert np.array_equal(features, encode(load_encoder(done.folder), signal))


def test_long_recordings_are_encoded_in_pieces(manifest):
    encoder = load_encoder(run(manifest).folder)
    signal = toy.voice(np.random.default_rng(0), 1, 9.0)
    whole = encode(encoder, signal)
    pieces = encode_log_mel(encoder, audio.log_mel(signal), chunk=150, context=100)
    assert pieces.shape == whole.shape
    # What lies more than a second away moves an LSTM's state a little.
    np.testing.assert_allclose(pieces, whole, atol=0.02 * np.abs(whole).max())


def test_what_is_no_encoder_is_told(manifest, tmp_path):
    with pytest.raises(ValueError, match=r"no config\.toml here"):
        load_encoder(tmp_path)
    done = run(manifest)
    weights = done.folder / "model.safetensors"
    good, text = weights.read_bytes(), (done.folder / "config.toml").read_text()
    weights.write_bytes(good[:1000])
    with pytest.raises(ValueError, match=r"not this encoder's weights.*copy it again"):
        load_encoder(done.folder)
    weights.write_bytes(good)
    (done.folder / "config.toml").write_text(
        text.replace("channels = [\n    4,", "channels = [\n    5000,")
    )
    with pytest.raises(ValueError, match=r"not those that config\.toml describes"):
        load_encoder(done.folder)
    (done.folder / "config.toml").write_text("format = 1\n")
    with pytest.raises(ValueError, match="of format 1, but this version of Augury reads 2"):
        load_encoder(done.folder)
    (done.folder / "config.toml").write_text("format = 2\n")
    with pytest.raises(ValueError, match="not as Augury writes it"):
        load_encoder(done.folder)
    (done.folder / "config.toml").write_text("= 1\n")
    with pytest.raises(ValueError, match="not TOML"):
        load_encoder(done.folder)


# ------------------------------------------------------------------------------------- choosing


def test_the_best_of_a_ranking(manifest, tmp_path):
    names = ("own:rms", "own:centroid", "own:noise", "own:flux")
    ranking = rank(
        read_corpus(manifest), names, label="label", jobs=1, bootstrap=0, permutations=99
    )
    ranking.write(tmp_path / "ranking")
    order = [result.name for result in ranking.results if result.relevant is not False]
    choice = from_ranking(tmp_path / "ranking/ranking.json", top=1)
    assert list(choice.weights) == order[:1]
    assert choice.ranking["label"] == "label"
    done = run(manifest, choice)
    assert config.read_config(done.folder).ranking["digest"] == choice.ranking["digest"]
    # Another ranking with the same pseudo-labels is another run.
    other = json.loads((tmp_path / "ranking/ranking.json").read_text())
    other["inputs"]["audio"] = "others"
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"holds another run: ranking\.digest .*another --out"):
        run(manifest, from_ranking(tmp_path / "other.json", top=1))


def write_ranking(tmp_path, results):
    example = ranking(
        tuple(
            candidate(name, 0.05 if relevant is False else 0.1, 2, relevant=relevant)
            for name, relevant in results
        ), 2,
        label="speaker", versions={"opensmile": "0.1"}, inputs={"audio": "x"},
    )  # fmt: skip
    example.write(tmp_path)
    return tmp_path / "ranking.json"


def test_irrelevant_candidates_are_passed_over(tmp_path):
    path = write_ranking(tmp_path, [("own:noise", False), ("own:rms", True), ("own:flux", None)])
    choice = from_ranking(path, top=2)
    assert list(choice.weights) == ["own:rms", "own:flux"]
    assert choice.passed_over == ("own:noise",)
    with pytest.raises(
        ValueError, match="top 3, but only 2 of its 3 ranked candidates are relevant"
    ):
        from_ranking(path, top=3)
    choice = from_ranking(path, weights={"own:flux": 0.25})
    assert (choice.weights, choice.passed_over) == ({"own:flux": 0.25}, ())
    assert choice.ranking["label"] == "speaker"
    with pytest.raises(ValueError, match="did not rank zcr; it has own:noise, own:rms, own:flux"):
        from_ranking(path, weights={"zcr": 0.5})
    with pytest.raises(ValueError, match="top is 0"):
        from_ranking(path, top=0)


def test_rankings_that_do_not_fit_are_refused(manifest, tmp_path):
    pytest.importorskip("opensmile")
    path = write_ranking(tmp_path, [("F0", True)])
    with pytest.raises(ValueError, match=r"ranked with openSMILE 0\.1.*rank again here"):
        from_ranking(path)
    for text in ("{", "[]", "{}", '{"results": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"not a ranking\.json"):
            from_ranking(path)
    # Made on data with a column that this corpus lacks.
    choice = from_ranking(write_ranking(tmp_path, [("column:accent", True)]))
    with pytest.raises(ValueError, match="no label column 'accent'"):
        run(manifest, choice)


def test_weights_as_written(tmp_path):
    assert read_weights("F0=0.5, toy:level=2") == {"F0": 0.5, "toy:level": 2.0}
    (tmp_path / "w.json").write_text('{"F0": 0.25}')
    assert read_weights(str(tmp_path / "w.json")) == {"F0": 0.25}
    with pytest.raises(ValueError, match="'zcr' is not NAME=WEIGHT"):
        read_weights("F0=1,zcr")
    with pytest.raises(ValueError, match="F0 is given twice"):
        read_weights("F0=1,F0=2")
    with pytest.raises(ValueError, match="no such file"):
        read_weights("nowhere.json")
    (tmp_path / "w.json").write_text("[1]")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_weights(str(tmp_path / "w.json"))
    with pytest.raises(ValueError, match="did you mean F0"):
        choose({"f0": 1.0})
    with pytest.raises(ValueError, match="must be a list of names"):
        choose("F0")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"preset": "smal"}, "no such preset.*did you mean small"),
        ({"epoch": 3}, "epoch: no such setting of pretraining; did you mean epochs"),
        ({"optimiser": "sgd"}, "optimiser is 'sgd', but must be adadelta or adam"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_seconds": 1.0}, "less than the longest clip"),
        ({"device": "gpu"}, "gpu: no such device"),
        ({"encoder": {"chanels": [3]}}, "chanels: no such setting of an encoder; did you mean"),
        ({"encoder": {"bands": 40}}, "bands is 40, but a recording's log-mel has 80"),
        ({"encoder": 3}, "settings of an encoder are 3, but must be a table"),
        ({"seed": 1.0}, "seed is 1.0, but must be a whole number"),
        ({"patience": 3, "validation": "0"}, "patience needs a validation loss"),
    ],
)
def test_choices_that_can_not_be_are_refused(manifest, choices, message):
    with pytest.raises(ValueError, match=message):
        run(manifest, **choices)


# ---------------------------------------------------------------------------------- command line


def test_the_command_line(manifest, tmp_path):
    common = [str(manifest), "--preset", str(tmp_path / "tiny.toml"), "--jobs", "1"]

    def call(*words):
        return CliRunner().invoke(app, list(words))

    out = str(tmp_path / "cli")
    done = call("pretrain", *common, "--pseudo-labels", "toy:level", "--out", out, "--epochs", "2")
    assert done.exit_code == 0, done.output
    assert "toy:level" in done.output
    assert "epoch 2 of 2 kept" in done.output or "epoch 1 of 2 kept" in done.output
    done = call(
        "encode", str(tmp_path / "low-0.wav"), "--encoder", out, "--out", str(tmp_path / "f")
    )
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "f/low-0.npy").shape[1] == 16
    done = call(
        "encode", str(tmp_path / "low-0.wav"), str(tmp_path / "low-0.wav"),
        str(tmp_path / "absent.wav"), str(tmp_path / "manifest.csv"), "--encoder", out,
        "--out", str(tmp_path / "g"),
    )  # fmt: skip
    assert done.exit_code == 1
    assert done.output.count("left out") == 3
    for words, message in (
        ((), "say what to predict"),
        (("--pseudo-labels", "toy:level", "--weights", "toy:level=1"), "say what to predict"),
        (("--pseudo-labels", "lodness"), "did you mean loudness"),
        (("--pseudo-labels", ","), "--pseudo-labels is empty"),
        (("--pseudo-labels", "toy:level", "--device", "mps"), "not a device"),
        (("--pseudo-labels", "toy:level", "--device", "cuda:9"), "torch finds"),
        (("--from", str(tmp_path / "absent.json")), "absent.json"),
    ):
        done = call("pretrain", *common, "--out", str(tmp_path / "no"), *words)
        assert done.exit_code == 2, done.output
        assert message in done.output.replace("\n", " ")
    done = call("pretrain", *common, "--pseudo-labels", "none", "--out", str(tmp_path / "none"))
    assert done.exit_code == 0, done.output


def test_without_torch_it_is_said_what_to_install(manifest, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for words in (["pretrain", str(manifest)], ["encode", "a.wav", "--encoder", "x"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert "pip install 'augury[train]'" in done.output


def test_a_folder_of_recordings_will_do(tmp_path, monkeypatch):
    toy.corpus(tmp_path)
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "notes.txt").write_text("no sound")
    corpus = read_corpus(tmp_path)
    assert len(corpus) == 24
    assert corpus.columns == {}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nor any recording"):
        read_corpus(tmp_path / "empty")


# ------------------------------------------------------------------------------- real speech


def test_small_learns_real_pseudo_labels(tmp_path):
    """The speech that ships with Augury: four minutes, the small preset, three epochs."""
    pytest.importorskip("opensmile")
    import augury

    corpus = read_corpus(Path(augury.__file__).parent / "demo_data/manifest.csv")
    done = pretrain(
        corpus, ["loudness", "zcr"], out=tmp_path / "out", epochs=3, batch_seconds=20.0,
        validation="0.1", jobs=1,
    )  # fmt: skip
    for name in ("loudness", "zcr", "mel"):
        assert done.result["validation"][name] < 0.7 * done.result["constant_guess"][name]
