"""Augury tells which pretext task will help a speech model, before you pretrain."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augury.corpus import Corpus as Corpus
    from augury.corpus import check as check
    from augury.downstream.evaluate import evaluate as evaluate
    from augury.downstream.results import Evaluation as Evaluation
    from augury.learning.choice import from_ranking as from_ranking
    from augury.learning.encode import encode as encode
    from augury.learning.encode import load_encoder as load_encoder
    from augury.learning.pretrain import Pretrained as Pretrained
    from augury.learning.pretrain import pretrain as pretrain
    from augury.ranking import rank as rank
    from augury.readers import prepare as prepare
    from augury.readers import read_corpus as read_corpus
    from augury.readers import read_trials as read_trials
    from augury.results import Ranking as Ranking
    from augury.results import Result as Result
    from augury.settings import PretrainSettings as PretrainSettings
    from augury.settings import RankSettings as RankSettings
    from augury.validation.recipe import read_recipe as read_recipe
    from augury.validation.validate import validate as validate

#: Public names and where they live; imported when first used, so that `import augury` is quick.
_PLACES = {
    "Corpus": "augury.corpus",
    "check": "augury.corpus",
    "prepare": "augury.readers",
    "read_corpus": "augury.readers",
    "read_trials": "augury.readers",
    "evaluate": "augury.downstream.evaluate",
    "Evaluation": "augury.downstream.results",
    "RankSettings": "augury.settings",
    "rank": "augury.ranking",
    "read_recipe": "augury.validation.recipe",
    "validate": "augury.validation.validate",
    "Ranking": "augury.results",
    "Result": "augury.results",
    "PretrainSettings": "augury.settings",
    "Pretrained": "augury.learning.pretrain",
    "encode": "augury.learning.encode",
    "from_ranking": "augury.learning.choice",
    "load_encoder": "augury.learning.encode",
    "pretrain": "augury.learning.pretrain",
}

__all__ = [
    "Corpus",
    "Evaluation",
    "PretrainSettings",
    "Pretrained",
    "RankSettings",
    "Ranking",
    "Result",
    "check",
    "encode",
    "evaluate",
    "from_ranking",
    "load_encoder",
    "prepare",
    "pretrain",
    "rank",
    "read_corpus",
    "read_recipe",
    "read_trials",
    "validate",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'augury' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
