"""A training run on disk: everything that the next batch depends on, whole or not at all.

Tensors and plain values only, behind a checksum; no pickle. The one before is kept too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from augury.errors import InputError
from augury.store import pack, unpack, write_atomically

_PREVIOUS = ".previous"


def save(
    path: Path,
    model: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    about: dict[str, Any],
    *,
    key: str,
) -> None:
    """Write model, optimisers and `about` (anything JSON can write); OSError where it can't be.

    `key` names the run: what `load` must be given to get it back.
    """
    arrays = {f"model.{name}": _array(value) for name, value in model.state_dict().items()}
    for place, optimiser in enumerate(optimisers):
        for index, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:  # SGD's momentum, before its first step
                    whole = f"optimiser.{place}.{index}.{name}"
                    arrays[whole] = _array(torch.as_tensor(value))
    arrays["about"] = np.frombuffer(json.dumps([key, about]).encode(), np.uint8)
    data = pack(arrays)
    if path.exists():
        path.replace(path.with_suffix(_PREVIOUS))
    write_atomically(path, data)


def load(
    path: Path, model: nn.Module, *optimisers: torch.optim.Optimizer, key: str
) -> dict[str, Any] | None:
    """Put a checkpoint's values into model and optimisers, and return its `about`.

    None if there is no checkpoint; InputError if it was damaged, or is of another run.
    """
    # Between setting the old one aside and writing the new one, only the old one is there.
    found = next((one for one in (path, path.with_suffix(_PREVIOUS)) if one.exists()), None)
    if found is None:
        return None
    arrays = unpack(found.read_bytes())
    if arrays is None:
        raise InputError(
            f"{found}: damaged since it was written; delete it, and the run goes on from the "
            "checkpoint before, or from the beginning where there is none"
        )
    whose, about = None, {}
    with suppress(KeyError, ValueError):  # checked, so whole, but perhaps no checkpoint
        whose, about = json.loads(arrays.pop("about").tobytes())
    if whose != key:
        raise InputError(
            f"{found}: of a run with another configuration; choose another folder, or delete this "
            "file to start anew"
        )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimisers]
    try:
        for name, value in tensors.items():
            if optimisers and name.startswith("optimiser."):
                _, place, index, what = name.split(".", 3)
                states[int(place)].setdefault(int(index), {})[what] = value
        model.load_state_dict(weights)
        for optimiser, state in zip(optimisers, states, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"{found}: of another model ({str(error).splitlines()[0]}); choose another folder, or "
            "delete this file to start anew"
        ) from error
    return about


def remove(path: Path) -> None:
    """Delete a checkpoint and the one before."""
    path.unlink(missing_ok=True)
    path.with_suffix(_PREVIOUS).unlink(missing_ok=True)


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()
