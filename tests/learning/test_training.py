"""The training loop on a small regression: batches, signals, full disks, and numbers not finite."""

import json
import math
import os
import resource
import signal

import numpy as np
import pytest

from augury.store import pack
from reporters import Recorder

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from augury.learning import checkpoint  # noqa: E402
from augury.learning.processes import ProcessGroup  # noqa: E402
from augury.learning.training import Schedule, Stopped, TrainingLoop  # noqa: E402

HERE = ProcessGroup(0, 1, torch.device("cpu"))


class Regression:
    """Twelve points a batch, two losses: squared error of the first and of the second output."""

    criterion = "loss"

    def __init__(self, batches=6, bad=(), held_out=True):
        torch_state = torch.random.get_rng_state()
        torch.manual_seed(3)
        self.x = torch.randn(batches, 12, 3)
        self.y = self.x @ torch.randn(3, 2) + 0.1 * torch.randn(batches, 12, 2)
        torch.random.set_rng_state(torch_state)
        self.bad, self.held_out = set(bad), held_out
        self.loss_names, self.loss_weights = ["first", "second"], [1.0, 0.5]

    def epoch_batches(self, epoch):
        return [[k] for k in torch.randperm(len(self.x), generator=_generator(epoch)).tolist()]

    def read(self, indices):
        x = self.x[indices[0]].clone()
        if indices[0] in self.bad:
            x[0, 0] = float("inf")
        return x, self.y[indices[0]]

    def losses(self, model, data):
        x, y = data
        return (model(x) - y).square().sum(0), torch.tensor([12.0, 12.0])

    def validate(self, model, stop):
        if not self.held_out:
            return torch.zeros(2), torch.zeros(2)
        return (model(self.x[0]) - self.y[0]).square().sum(0), torch.tensor([12.0, 12.0])

    def seconds(self, indices):
        return 1.0

    def describe(self, indices):
        return f"batch of {indices[0]}"


def _generator(seed):
    return torch.Generator().manual_seed(seed)


def regression():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))


def run(folder, task=None, *, model=None, **choices):
    folder.mkdir(exist_ok=True)
    model = model or regression()
    reporter = Recorder(on_training=choices.pop("watch", None))
    reporter.warnings = choices.pop("warnings", [])
    key = choices.pop("key", "this run")
    defaults = {
        "epochs": 4, "learning_rate": 0.05, "shape": "constant", "clip": 5.0, "patience": 0,
        "max_skipped": 3, "seed": 7, "checkpoint_minutes": 10.0,
    }  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters())
    return TrainingLoop(
        task or Regression(), model, [optimiser], Schedule(**(defaults | choices)), folder,
        folder / "log.jsonl", key, HERE, reporter,
    )  # fmt: skip


def weights(model):
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def test_the_loss_falls_and_progress_is_reported(tmp_path):
    moments = []
    loop = run(tmp_path, watch=moments.append, epochs=30)
    progress = loop.train()
    assert progress.epoch == 30
    assert progress.step == 180 == len(moments)
    losses = [entry["validation"]["loss"] for entry in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    entry = progress.history[4]["training"]
    assert entry["loss"] == pytest.approx(entry["first"] + 0.5 * entry["second"])
    assert (moments[-1].epoch, moments[-1].batch, moments[-1].batches) == (30, 6, 6)
    assert moments[90].remaining > moments[170].remaining


def test_a_run_is_resumed_with_its_number_of_threads(tmp_path):
    before = torch.get_num_threads()
    threads = []

    def stop(moment):
        threads.append(torch.get_num_threads())
        if moment.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        torch.set_num_threads(3)
        with pytest.raises(Stopped):
            run(tmp_path, watch=stop).train()
        torch.set_num_threads(1)
        run(tmp_path, watch=lambda moment: threads.append(torch.get_num_threads())).train()
        assert set(threads) == {3}
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_two_optimisers_with_their_own_rates(tmp_path):
    """As one of both, also when gone on with."""

    def halves(model):
        first = list(model[0].parameters())
        second = [*model[1].parameters(), *model[3].parameters()]
        return [
            torch.optim.Adam(first),
            torch.optim.SGD([{"params": second, "share": 0.1}], 1.0, momentum=0.9),
        ]

    def stop(moment):
        if moment.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    uninterrupted, first, second = (run(tmp_path / name) for name in ("whole", "killed", "killed"))
    first.reporter = Recorder(on_training=stop)
    for loop in (uninterrupted, first, second):
        loop.optimisers = halves(loop.model)
    uninterrupted.train()
    rates = [optimiser.param_groups[0]["lr"] for optimiser in uninterrupted.optimisers]
    assert rates == [0.05, pytest.approx(0.005)]
    with pytest.raises(Stopped):
        first.train()
    second.train()
    assert torch.equal(weights(second.model), weights(uninterrupted.model))


def test_the_criterion_sets_the_best_epoch(tmp_path):
    class Odd(Regression):
        criterion = "second"
        values = iter([3.0, 1.0, 2.0, 4.0])

        def validate(self, model, stop):
            return torch.tensor([0.0, next(self.values)]), torch.ones(2)

    loop = run(tmp_path, Odd())
    assert loop.train().best_value == 1.0
    best = regression()
    assert checkpoint.load(tmp_path / "best", best, key="this run") == {"epoch": 2}


def test_one_step_is_gradient_descent_on_the_weighted_means(tmp_path):
    task, model = Regression(batches=1), nn.Linear(3, 2)
    expected = [p.detach().clone() for p in model.parameters()]
    x, y = task.read([0])
    parameters = [p.clone().requires_grad_() for p in expected]
    error = (x @ parameters[0].T + parameters[1] - y).square().mean(0)
    (error[0] + 0.5 * error[1]).backward()
    loop = run(tmp_path, task, model=model, epochs=1, clip=1e6, learning_rate=0.1)
    loop.optimisers = [torch.optim.SGD(model.parameters(), 0.1)]
    loop.train()
    for p, before, grad in zip(model.parameters(), expected, parameters, strict=True):
        torch.testing.assert_close(p.detach(), before - 0.1 * grad.grad)


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    torch.manual_seed(5)
    run(tmp_path, model=model).train()
    assert torch.equal(torch.rand(3), expected)


def test_two_runs_with_one_seed_are_identical(tmp_path):
    first, second, other = (
        run(tmp_path / name, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    for loop in (first, second, other):
        loop.train()
    assert torch.equal(weights(first.model), weights(second.model))
    assert not torch.equal(weights(first.model), weights(other.model))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_run_that_is_stopped_and_resumed_ends_like_an_uninterrupted_one(tmp_path, number):
    uninterrupted = run(tmp_path / "whole")
    uninterrupted.train()

    def stop(moment):
        if moment.step in ask:
            os.kill(os.getpid(), number)

    for step in (1, 6, 9, 17):  # in an epoch, and at its end
        ask = {step}
        with pytest.raises(Stopped, match="the same command goes on") as stopped:
            run(tmp_path / "stopped", watch=stop).train()
        assert stopped.value.signal == number
    ask = set()
    going = run(tmp_path / "stopped", watch=stop)
    progress = going.train()
    assert torch.equal(weights(going.model), weights(uninterrupted.model))
    assert progress.history == uninterrupted.state.history
    assert progress.audio_seconds == 24


def test_checkpoints_between_batches_change_nothing(tmp_path):
    plain, often = run(tmp_path / "plain"), run(tmp_path / "often", checkpoint_minutes=0.0)
    plain.train()
    often.train()
    assert torch.equal(weights(plain.model), weights(often.model))


def test_a_batch_that_is_not_finite_is_reported_and_changes_nothing(tmp_path):
    def plain():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    warnings = []
    loop = run(tmp_path / "bad", Regression(bad=[2]), model=plain(), epochs=2, warnings=warnings)
    progress = loop.train()
    assert len(progress.skipped) == 2
    assert "batch of 2" in progress.skipped[0]
    assert progress.skipped[0].startswith("epoch 1, batch ")
    assert len(warnings) == 2

    class Without(Regression):
        def epoch_batches(self, epoch):
            return [batch for batch in super().epoch_batches(epoch) if batch != [2]]

    clean = run(tmp_path / "clean", Without(), model=plain(), epochs=2)
    clean.train()
    # Batch statistics and Adam's moments too, to the last bit.
    assert torch.equal(weights(loop.model), weights(clean.model))
    lines = [json.loads(line) for line in (tmp_path / "bad/log.jsonl").read_text().splitlines()]
    assert sum("skipped" in line for line in lines) == 2
    assert all(math.isfinite(entry["training"]["loss"]) for entry in progress.history)


def test_too_many_batches_that_are_not_finite_stop_the_run(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"4 batches.*max_skipped is 3; the last: batch of"
    ):
        run(tmp_path, Regression(bad=range(5))).train()


def test_patience_and_the_best_epoch(tmp_path):
    class Worsening(Regression):
        calls = 0

        def validate(self, model, stop):
            type(self).calls += 1
            return torch.tensor([12.0, 0.0]) * abs(self.calls - 3), torch.tensor([12.0, 12.0])

    loop = run(tmp_path, Worsening(), epochs=50, patience=4)
    progress = loop.train()
    assert (progress.best_value, progress.epoch) == (0, 7)
    best = regression()
    assert checkpoint.load(tmp_path / "best", best, key="this run") == {"epoch": 3}
    assert not torch.equal(weights(best), weights(loop.model))


def test_an_epoch_whose_validation_loss_is_not_finite_is_never_the_best(tmp_path):
    class Broken(Regression):
        calls = 0

        def validate(self, model, stop):
            type(self).calls += 1
            value = float("nan") if self.calls == 1 else 1.0 / self.calls
            return torch.tensor([value, value]), torch.ones(2)

    warnings = []
    run(tmp_path, Broken(), warnings=warnings, patience=2).train()
    best = checkpoint.load(tmp_path / "best", regression(), key="this run")
    assert best == {"epoch": 4}
    assert warnings == ["the validation loss of epoch 1 is nan"]


def test_a_signal_during_validation_loses_nothing(tmp_path):
    uninterrupted = run(tmp_path / "whole")
    uninterrupted.train()

    class Slow(Regression):
        def validate(self, model, stop):
            if not list((tmp_path / "asked").glob("asked")):
                (tmp_path / "asked/asked").touch()
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop()
            return super().validate(model, stop)

    with pytest.raises(Stopped, match="stopped in epoch 1 before its validation"):
        run(tmp_path / "asked", Slow()).train()
    going = run(tmp_path / "asked", Slow())
    assert going.train().history == uninterrupted.state.history
    assert torch.equal(weights(going.model), weights(uninterrupted.model))


def test_temporary_files_of_a_killed_run_are_deleted(tmp_path):
    run(tmp_path, epochs=1).train()
    (tmp_path / ".checkpoint.0123").write_bytes(b"half")
    run(tmp_path, epochs=2).train()
    assert not list(tmp_path.glob(".*"))


def test_with_another_number_of_processes_the_epoch_begins_again(tmp_path):
    def stop(moment):
        if moment.step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        run(tmp_path, watch=stop).train()
    going = run(tmp_path, warnings=(warnings := []))
    about = checkpoint.load(tmp_path / "checkpoint", going.model, *going.optimisers, key="this run")
    assert (about["batch"], about["processes"]) == (3, 1)
    about["processes"] = 2
    checkpoint.save(tmp_path / "checkpoint", going.model, going.optimisers, about, key="this run")
    assert going.train().epoch == 4
    assert warnings == ["1 processes, but 2 before: batches differ, so epoch 2 begins again"]


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    loop = run(tmp_path, Regression(held_out=False), epochs=3)
    progress = loop.train()
    assert progress.history[0]["validation"] == {}
    best = regression()
    assert checkpoint.load(tmp_path / "best", best, key="this run") == {"epoch": 3}
    assert torch.equal(weights(best), weights(loop.model))


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_goes_on(tmp_path):
    uninterrupted = run(tmp_path / "whole")
    uninterrupted.train()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    warnings, loaded = [], []

    def fill(moment):
        if moment.step == 8:  # after the first epoch's checkpoint
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        if moment.step == 14:
            model = regression()
            optimiser = torch.optim.Adam(model.parameters())
            path = tmp_path / "full/checkpoint"
            loaded.append(checkpoint.load(path, model, optimiser, key="this run"))
            best = regression()
            loaded.append(checkpoint.load(tmp_path / "full/best", best, key="this run"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        loop = run(tmp_path / "full", watch=fill, warnings=warnings)
        loop.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert any("make room" in text for text in warnings)
    assert loaded[0]["epoch"] == 1
    assert loaded[1] == {"epoch": 1}  # its own epoch, though the second was better
    assert loop.state.history[1]["validation"]["loss"] < loop.state.history[0]["validation"]["loss"]
    assert torch.equal(weights(loop.model), weights(uninterrupted.model))
    assert not list((tmp_path / "full").glob(".*"))  # no half-written file is left


def test_a_damaged_checkpoint_is_reported_and_without_it_the_previous_one_is_used(tmp_path):
    def stop(moment):
        if moment.step == 14:
            os.kill(os.getpid(), signal.SIGTERM)

    uninterrupted = run(tmp_path / "whole")
    uninterrupted.train()
    with pytest.raises(Stopped):
        run(tmp_path / "run", watch=stop).train()
    path = tmp_path / "run/checkpoint"
    data = bytearray(path.read_bytes())
    for index in (0, 40, len(data) // 2, len(data) - 1):
        bad = bytearray(data)
        bad[index] ^= 1
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"damaged.*delete it, and the run goes on"):
            run(tmp_path / "run").train()
    path.write_bytes(data[:100])
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path / "run").train()
    path.unlink()
    loop = run(tmp_path / "run")
    loop.train()
    assert torch.equal(weights(loop.model), weights(uninterrupted.model))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path, epochs=1).train()
    with pytest.raises(ValueError, match="of a run with another configuration; choose another"):
        run(tmp_path, epochs=1, key="another").train()
    (tmp_path / "checkpoint").write_bytes(pack({"x": np.zeros(3)}))
    with pytest.raises(ValueError, match="of a run with another configuration"):
        run(tmp_path, epochs=1).train()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    run(tmp_path, epochs=1).train()
    with pytest.raises(ValueError, match=r"of another model.*choose another folder"):
        run(tmp_path, model=nn.Linear(3, 2)).train()


def test_the_log_has_each_step_once(tmp_path):
    def stop(moment):
        if moment.step == 45:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, epochs=10, watch=stop).train()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 42, "epoch": 8, "validation": {}}\n{"step": 41, "cut o')
    run(tmp_path, epochs=10).train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    epochs = [line["epoch"] for line in lines if "validation" in line]
    assert epochs == list(range(1, 11))
    steps = [line["step"] for line in lines if "rate" in line]
    assert steps == [20, 40, 60]


def test_the_learning_rate_worked_by_hand():
    cosine = Schedule(10, 0.2, "cosine", 1, 0, 0, 0)
    assert cosine.learning_rate_at(0.5) == pytest.approx(0.1)
    assert cosine.learning_rate_at(1.0) == pytest.approx(0)
    assert 0 < cosine.learning_rate_at(0.0) < 0.01
    assert max(cosine.learning_rate_at(k / 1000) for k in range(1001)) == pytest.approx(
        0.2, rel=0.01
    )
    assert Schedule(10, 0.2, "constant", 1, 0, 0, 0).learning_rate_at(0.7) == 0.2
    linear = Schedule(10, 0.2, "linear", 1, 0, 0, 0)
    assert [linear.learning_rate_at(0), linear.learning_rate_at(1)] == [0.2, pytest.approx(0.02)]
