"""What to do after a ranking: the commands that choose candidates and pretrain with them."""

from __future__ import annotations

import shlex

from augury.pseudolabels.candidate import COLUMN_OF
from augury.ranking.result import Ranking, Result
from augury.ranking.summary import leaders
from augury.report.text import join_names

#: Largest group that is suggested.
GROUP = 3


def advice(ranking: Ranking) -> str:
    """A sentence or two on what a ranking is good for."""
    if not ranking.relevant_results:
        return (
            f"No candidate is relevant to {ranking.label}: rank others, or label more segments, "
            "before pretraining."
        )
    return (
        "Try the first candidates, and a group of them, beside an encoder that only reconstructs "
        "(--pseudo-labels none): a good rank is no promise. speech.csv is your unlabelled speech, "
        "a manifest or a folder of recordings; ranking.json lies beside this page."
    )


def commands(ranking: Ranking) -> list[tuple[str, str]]:
    """What each command does, and the command."""
    relevant, few = ranking.relevant_results, _first(ranking)
    if not relevant:
        return []
    names = ",".join(result.name for result in few)
    steps = [
        (
            "Pretrain with the best:",
            ["augury", "pretrain", "speech.csv", "--pseudo-labels", names, "--out", "encoder"],
        )
    ]
    if len(relevant) > 1:
        k = str(min(GROUP, len(relevant)))
        how = "--best" if len({result.kind for result in relevant}) == 1 else "--mrmr"
        choose = ["augury", "select", "ranking.json", how, k, "--out", "weights.json"]
        train = ["augury", "pretrain", "speech.csv", "--from", "ranking.json"]
        train += ["--weights", "weights.json", "--out", "group"]
        steps += [("Or choose a group, and pretrain with it:", choose), ("", train)]
    return [(what, shlex.join(words)) for what, words in steps]


def columns_warning(ranking: Ranking) -> str:
    """Which of the candidates to pretrain with are columns of the manifest, and what that asks."""
    first = {result.name for result in _first(ranking)} | {
        result.name for result in ranking.relevant_results[:GROUP]
    }
    columns = [r.name for r in ranking.relevant_results if r.name in first and _is_column(r)]
    if not columns:
        return ""
    verb = "is a column" if len(columns) == 1 else "are columns"
    return (
        f"{join_names(columns)} {verb} of the manifest that was ranked: the speech to pretrain on "
        "needs it, too, and unlabelled speech may not have it."
    )


def _first(ranking: Ranking) -> list[Result]:
    """The leaders of each kind, few of them."""
    return leaders(ranking)[:GROUP]


def _is_column(result: Result) -> bool:
    return result.source.partition(":")[0] in COLUMN_OF.values()
