# Of some of torch's functions parameters have no type:
# pyright: reportUnknownMemberType=false
"""Checkpoints: everything that the rest of a training run depends on, written atomically.

Tensors and plain values only, with a checksum; no pickle. The previous checkpoint is kept, too.
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

from augury.errors import InputError, explain_os_errors
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
    """Write model, optimisers and `about` (anything that JSON can write).

    `key` names the run: `load` needs the same.

    Raises:
        UnusableFile: it can't be written, for instance because the disk is full.
    """
    arrays = {f"model.{name}": _array(value) for name, value in model.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:  # SGD's momentum is None before its first step
                    entry = f"optimiser.{number}.{index}.{name}"
                    arrays[entry] = _array(torch.as_tensor(value))
    arrays["about"] = np.frombuffer(json.dumps([key, about]).encode(), np.uint8)
    data = pack(arrays)
    if path.exists():
        with explain_os_errors(path):
            path.replace(path.with_suffix(_PREVIOUS))
    write_atomically(path, data)


def load(
    path: Path, model: nn.Module, *optimisers: torch.optim.Optimizer, key: str
) -> dict[str, Any] | None:
    """Load a checkpoint into model and optimisers, and return its `about`.

    None if there is no checkpoint.

    Raises:
        InputError: it is damaged, or of another run or model.
    """
    # If `save` was interrupted, there is only the previous checkpoint.
    file = next(
        (candidate for candidate in (path, path.with_suffix(_PREVIOUS)) if candidate.exists()), None
    )
    if file is None:
        return None
    with explain_os_errors(file):
        arrays = unpack(file.read_bytes())
    if arrays is None:
        raise InputError(
            f"{file}: damaged since it was written; delete it, and the run goes on from the "
            "checkpoint before, or from the beginning where there is none"
        )
    written_key: str | None = None
    about: dict[str, Any] = {}
    with suppress(KeyError, ValueError):  # undamaged, but perhaps not a checkpoint
        written_key, about = json.loads(arrays.pop("about").tobytes())
    if written_key != key:
        raise InputError(
            f"{file}: of a run with another configuration; choose another folder, or delete this "
            "file to start anew"
        )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimisers]
    try:
        for name, value in tensors.items():
            if optimisers and name.startswith("optimiser."):
                _, number, index, entry = name.split(".", 3)
                states[int(number)].setdefault(int(index), {})[entry] = value
        model.load_state_dict(weights)
        for optimiser, state in zip(optimisers, states, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"{file}: of another model ({str(error).splitlines()[0]}); choose another folder, or "
            "delete this file to start anew"
        ) from error
    return about


def remove(path: Path) -> None:
    """Delete a checkpoint and the previous one."""
    path.unlink(missing_ok=True)
    path.with_suffix(_PREVIOUS).unlink(missing_ok=True)


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()
