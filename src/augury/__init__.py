"""Augury tells which pretext task will help a speech model, before you pretrain."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augury.corpus.check import check as check
    from augury.corpus.corpus import Corpus as Corpus
    from augury.corpus.read import prepare as prepare
    from augury.corpus.read import read_corpus as read_corpus
    from augury.corpus.read import read_trials as read_trials
    from augury.downstream.evaluate import evaluate as evaluate
    from augury.downstream.result import Evaluation as Evaluation
    from augury.downstream.settings import EvaluateSettings as EvaluateSettings
    from augury.downstream.tasks.task import Task as Task
    from augury.errors import InputError as InputError
    from augury.pretraining.choice import from_ranking as from_ranking
    from augury.pretraining.encode import encode as encode
    from augury.pretraining.encode import load_encoder as load_encoder
    from augury.pretraining.pretrain import pretrain as pretrain
    from augury.pretraining.result import Pretrained as Pretrained
    from augury.pretraining.settings import PretrainSettings as PretrainSettings
    from augury.pseudolabels.candidate import Candidate as Candidate
    from augury.pseudolabels.candidate import parse_candidates as parse_candidates
    from augury.ranking.rank import rank as rank
    from augury.ranking.report import write_report as write_report
    from augury.ranking.result import Ranking as Ranking
    from augury.ranking.result import Result as Result
    from augury.ranking.selection import Selection as Selection
    from augury.ranking.settings import RankSettings as RankSettings
    from augury.ranking.weights import learn_weights as learn_weights
    from augury.reporter import Reporter as Reporter
    from augury.validation.recipe import read_recipe as read_recipe
    from augury.validation.validate import Validation as Validation
    from augury.validation.validate import plan_jobs as plan_jobs
    from augury.validation.validate import validate as validate

#: Public names and where they live; imported when first used, so that `import augury` is quick.
_PLACES = {
    "parse_candidates": "augury.pseudolabels.candidate",
    "Candidate": "augury.pseudolabels.candidate",
    "write_report": "augury.ranking.report",
    "Validation": "augury.validation.validate",
    "plan_jobs": "augury.validation.validate",
    "learn_weights": "augury.ranking.weights",
    "Selection": "augury.ranking.selection",
    "Task": "augury.downstream.tasks.task",
    "EvaluateSettings": "augury.downstream.settings",
    "Reporter": "augury.reporter",
    "InputError": "augury.errors",
    "Corpus": "augury.corpus.corpus",
    "check": "augury.corpus.check",
    "prepare": "augury.corpus.read",
    "read_corpus": "augury.corpus.read",
    "read_trials": "augury.corpus.read",
    "evaluate": "augury.downstream.evaluate",
    "Evaluation": "augury.downstream.result",
    "RankSettings": "augury.ranking.settings",
    "rank": "augury.ranking.rank",
    "read_recipe": "augury.validation.recipe",
    "validate": "augury.validation.validate",
    "Ranking": "augury.ranking.result",
    "Result": "augury.ranking.result",
    "PretrainSettings": "augury.pretraining.settings",
    "Pretrained": "augury.pretraining.result",
    "encode": "augury.pretraining.encode",
    "from_ranking": "augury.pretraining.choice",
    "load_encoder": "augury.pretraining.encode",
    "pretrain": "augury.pretraining.pretrain",
}

__all__ = [
    "Candidate",
    "Corpus",
    "EvaluateSettings",
    "Evaluation",
    "InputError",
    "PretrainSettings",
    "Pretrained",
    "RankSettings",
    "Ranking",
    "Reporter",
    "Result",
    "Selection",
    "Task",
    "Validation",
    "check",
    "encode",
    "evaluate",
    "from_ranking",
    "learn_weights",
    "load_encoder",
    "parse_candidates",
    "plan_jobs",
    "prepare",
    "pretrain",
    "rank",
    "read_corpus",
    "read_recipe",
    "read_trials",
    "validate",
    "write_report",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'augury' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
