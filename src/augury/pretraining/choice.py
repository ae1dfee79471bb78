"""Which pseudo-labels to pretrain with: named, weighted, or the best of a ranking."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augury import pseudolabels
from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.provenance import versions
from augury.ranking.result import Ranking
from augury.store import digest


@dataclass(frozen=True)
class Choice:
    """Pseudo-labels with the weights of their workers, and the ranking they came from."""

    weights: dict[str, float]
    ranking: dict[str, Any] = field(default_factory=dict)  # empty: they were given by name
    passed_over: tuple[str, ...] = ()  # ranked above the last one taken, but not relevant


def choose(pseudo_labels: Choice | Mapping[str, float] | Sequence[str]) -> Choice:
    """The choice of some pseudo-labels; InputError for an unknown name or one given twice."""
    if isinstance(pseudo_labels, Choice):
        return pseudo_labels
    if isinstance(pseudo_labels, str):
        raise InputError(f"pseudo_labels is {pseudo_labels!r}, but must be a list of names")
    if not isinstance(pseudo_labels, Mapping):
        pseudo_labels = dict.fromkeys(pseudo_labels, 1.0)
    if pseudo_labels:
        pseudolabels.parse_candidates(list(pseudo_labels))
    return Choice({name: float(weight) for name, weight in pseudo_labels.items()})


def from_ranking(
    path: Path | str, *, top: int = 1, weights: Mapping[str, float] | None = None
) -> Choice:
    """The best candidates of a ranking.json, or those that `weights` names, with these weights.

    The ranking may come from another corpus than the one to pretrain on: the paper ranks on TIMIT
    and pretrains on Common Voice. Its label, estimator and digests are kept with the encoder.

    Candidates that are not relevant to the label are skipped: pure noise has the lowest score of
    all.

    Raises:
        InputError: not a ranking, one made with another version of openSMILE, fewer than `top`
            relevant candidates, or a weight for a candidate that was not ranked.

    >>> import augury
    >>> speech = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> few = speech.select(speech.recording % 4 == 0)
    >>> _ = augury.rank(few, ["own:rms"], label="speaker", out="results", jobs=1)
    >>> augury.from_ranking("results/ranking.json", top=1).weights
    {'own:rms': 1.0}
    """
    path = Path(path)
    if top < 1:
        raise InputError(f"top is {top}, but must be 1 or more")
    ranking = Ranking.read(path)
    names = [result.name for result in ranking.ranked_results]
    relevant = [result.name for result in ranking.relevant_results]
    if unknown := [name for name in weights or () if name not in names]:
        raise InputError(f"{path}: did not rank {', '.join(unknown)}; it has {', '.join(names)}")
    if not weights and top > len(relevant):
        raise InputError(
            f"{path}: top {top}, but only {len(relevant)} of its {len(names)} ranked "
            f"candidates are relevant to {ranking.label}; ask for fewer, or name others with "
            "--pseudo-labels"
        )
    kinds = dict.fromkeys(result.kind for result in ranking.relevant_results)
    if not weights and len(kinds) > 1:
        raise InputError(
            f"{path}: its relevant candidates are of several kinds ({', '.join(kinds)}), which "
            "have no common order to take the first of; name some with --pseudo-labels, or choose "
            "with `augury select`"
        )
    chosen = list(weights or relevant[:top])
    installed = versions(*pseudolabels.packages(pseudolabels.parse_candidates(chosen)))
    ranked_with = ranking.versions.get("opensmile")
    if "opensmile" in installed and ranked_with != installed["opensmile"]:
        raise InputError(
            f"{path}: ranked with openSMILE {ranked_with}, but {installed['opensmile']} is "
            "installed: the same name may not be the same value; rank again here"
        )
    scores = {result.name: result.score or 0.0 for result in ranking.ranked_results}
    last = scores[chosen[-1]] if not weights else -math.inf
    passed = tuple(name for name in names if name not in relevant and scores[name] < last)
    about = {
        "file": path.name, "digest": digest(path.read_bytes()), "label": ranking.label,
        "estimator": ranking.estimator, "inputs": ranking.inputs,
        "top": 0 if weights else top,  # 0: weights were given
    }  # fmt: skip
    return Choice(dict(weights or dict.fromkeys(chosen, 1.0)), about, passed)


def read_weights(text: str) -> dict[str, float]:
    """Weights written as F0=0.5,zcr=0.2, or a JSON file of names and numbers.

    >>> read_weights("F0=0.5,zcr=0.2")
    {'F0': 0.5, 'zcr': 0.2}
    """
    if "=" not in text:
        path = Path(text)
        try:
            with explain_os_errors(path):
                weights = json.loads(path.read_bytes())
            return {str(name): float(weight) for name, weight in weights.items()}
        except MissingFile:
            raise MissingFile(
                f"--weights {text}: no such file; write NAME=WEIGHT,… or name a JSON file"
            ) from None
        except UnusableFile:
            raise
        except (UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: not a JSON object of names and numbers") from error
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        if name.strip() in weights:
            raise InputError(f"--weights: {name.strip()} is given twice")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise InputError(f"--weights: {part!r} is not NAME=WEIGHT") from None
    return weights
