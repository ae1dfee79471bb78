"""config.toml of a pretrained encoder: all that is needed to rebuild it, and where it came from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augury.errors import InputError, MissingFile, explain_os_errors
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Target
from augury.store import key, write_atomically

NAME = "config.toml"
FORMAT = 2


@dataclass(frozen=True)
class Config:
    """What config.toml holds."""

    settings: PretrainSettings
    targets: tuple[Target, ...]
    data: dict[str, Any]  # what was trained on: manifest, digest, clips, hours
    ranking: dict[str, Any] = field(default_factory=dict)  # what the pseudo-labels were chosen by
    versions: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)  # empty until training has ended

    def key(self) -> str:
        """Names the run: the same for the same settings, targets and clips."""
        targets = [_target_to_dict(one) for one in self.targets]
        return key(FORMAT, self.settings.to_dict(), targets, self.data["segments"])

    def write(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all."""
        import tomli_w

        plain = {
            "format": FORMAT,
            "settings": self.settings.to_dict(),
            "targets": [_target_to_dict(one) for one in self.targets],
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
            f"{path}: of format {plain.get('format')}, and this version of Augury reads {FORMAT}"
        )
    try:
        given = dict(plain["settings"])
        labels = given.pop("pseudo_labels")
        settings = PretrainSettings.from_dict(given, labels)
        targets = tuple(_target_from_dict(one) for one in plain["targets"])
        rest = {name: plain[name] for name in ("data", "ranking", "versions", "result")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not as Augury writes it ({error}); restore it") from error
    return Config(settings, targets, **rest)


def differences(one: dict[str, Any], other: dict[str, Any], within: str = "") -> list[str]:
    """What differs between two settings, in words."""
    found = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{within}{name}.")
        elif a != b:
            found.append(f"{within}{name} {_show(a)}, not {_show(b)}")
    return found


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
    mean, deviation = (np.array(plain[name], float) for name in ("mean", "standard_deviation"))
    weight, categories = float(plain["weight"]), tuple(plain["categories"])
    return Target(plain["name"], plain["source"], weight, mean, deviation, categories)
