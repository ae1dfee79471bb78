"""config.toml of a pretrained encoder: its settings, targets, data, and results."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from augury.errors import InputError, MissingFile, explain_os_errors
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Target
from augury.store import key, write_atomically

NAME = "config.toml"
FORMAT = 2


@dataclass(frozen=True)
class Config:
    """The content of config.toml."""

    settings: PretrainSettings
    targets: tuple[Target, ...]
    data: dict[str, Any]  # the training data: manifest, digest, clips, hours
    ranking: dict[str, Any] = field(default_factory=dict)  # that the pseudo-labels came from
    versions: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)  # empty until training has ended

    def key(self) -> str:
        """A name of the run: the same for the same settings, targets and clips."""
        targets = [_target_to_dict(target) for target in self.targets]
        return key(FORMAT, self.settings.to_dict(), targets, self.data["segments"])

    def write(self, folder: Path) -> None:
        """Write it into a folder, atomically."""
        import tomli_w

        plain = {
            "format": FORMAT,
            "settings": self.settings.to_dict(),
            "targets": [_target_to_dict(target) for target in self.targets],
            "data": self.data,
            "ranking": self.ranking,
            "versions": self.versions,
            "result": self.result,
        }
        text = "# A pretrained encoder of Augury; augury.load_encoder reads it.\n"
        write_atomically(folder / NAME, text + tomli_w.dumps(plain))


def read_config(folder: Path) -> Config | None:
    """The configuration in a folder; None if there is none, InputError if it can't be read."""
    path = folder / NAME
    try:
        with explain_os_errors(path):
            plain = tomllib.loads(path.read_text("utf-8"))
    except MissingFile:
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error}); restore it, or pretrain again") from error
    if plain.get("format") != FORMAT:
        raise InputError(
            f"{path}: of format {plain.get('format')}, but this version of Augury reads {FORMAT}"
        )
    try:
        choices = dict(plain["settings"])
        labels = choices.pop("pseudo_labels")
        settings = PretrainSettings.from_dict(choices, labels)
        targets = tuple(_target_from_dict(target) for target in plain["targets"])
        rest = {name: plain[name] for name in ("data", "ranking", "versions", "result")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not as Augury writes it ({error}); restore it") from error
    return Config(settings, targets, **rest)


def differences(settings: dict[str, Any], other: dict[str, Any], within: str = "") -> list[str]:
    """How some settings differ from others, a sentence each.

    >>> differences({"epochs": 3}, {"epochs": 10})
    ['epochs 3, not 10']
    """
    differing: list[str] = []
    for name in sorted({*settings, *other}):
        a, b = settings.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = cast(dict[str, Any], a), cast(dict[str, Any], b)
            differing += differences(*inner, f"{within}{name}.")
        elif a != b:
            differing.append(f"{within}{name} {_show(a)}, not {_show(b)}")
    return differing


def _show(value: Any) -> str:
    return "absent" if value is None else str(value)


def _target_to_dict(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "source": target.source,
        "weight": target.weight,
        "mean": target.mean.tolist(),
        "standard_deviation": target.standard_deviation.tolist(),
        "categories": list(target.categories),
    }


def _target_from_dict(plain: dict[str, Any]) -> Target:
    mean, standard_deviation = (
        np.array(plain[name], float) for name in ("mean", "standard_deviation")
    )
    weight, categories = float(plain["weight"]), tuple(plain["categories"])
    return Target(plain["name"], plain["source"], weight, mean, standard_deviation, categories)
