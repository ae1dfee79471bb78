"""Fixtures of the experiment's tests."""

import pytest


@pytest.fixture
def without_pages(monkeypatch):
    """Leaves out the reports of single jobs: half of a toy job's time, tested elsewhere."""
    monkeypatch.setattr("augury.downstream.evaluate.write_report", lambda *_: None)
    monkeypatch.setattr("augury.pretraining.pretrain.render", lambda *_: "")
