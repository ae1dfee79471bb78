"""A user's own task: the example in the documentation of `Task` trains and is scored."""

import doctest

import pytest

from augury import read_corpus

import toy

torch = pytest.importorskip("torch")

from augury import evaluate  # noqa: E402
from augury.downstream.tasks.task import Task  # noqa: E402

IMPORTS = """
import numpy as np
import torch
from torch import nn
from augury.downstream.result import Metric, Outcome
from augury.downstream.tasks.task import Head, Task, classification_losses
"""


@pytest.mark.usefixtures("own_store")
def test_the_documented_task_can_be_evaluated(tmp_path, monkeypatch):
    examples = doctest.DocTestParser().get_examples(Task.__doc__)
    classes = [example.source for example in examples if example.source.startswith("class ")]
    assert len(classes) == 2
    (tmp_path / "odd.py").write_text(IMPORTS + "".join(classes))
    monkeypatch.syspath_prepend(tmp_path)
    manifest, _ = toy.sentences(tmp_path)
    lines = manifest.read_text().splitlines()
    digits = [f"{line},{k % 2}" for k, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([f"{lines[0]},digit", *digits]) + "\n")
    evaluation = evaluate(
        "odd:Odd", read_corpus(manifest), label="digit", out=tmp_path / "out", seeds=1, epochs=2,
        jobs=1,
    )  # fmt: skip
    assert evaluation.metric.chance == 0.5
    (outcome,) = evaluation.models[0].outcomes
    assert 0 <= outcome.score <= 1
    assert set(outcome.history[0]["training"]) >= {"cross_entropy", "error"}
