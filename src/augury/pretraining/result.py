"""The result of a pretraining, kept as data: config.toml and history.json of its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from augury.errors import InputError, MissingFile, UnusableFile, explain_os_errors
from augury.pretraining.config import NAME, Config, read_config


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining. `augury.load_encoder(folder)` loads its encoder.

    >>> import augury
    >>> speech = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> few = speech.select(speech.recording < 8)
    >>> _ = augury.pretrain(few, ["own:rms"], out="encoder", jobs=1, epochs=1)
    >>> Pretrained.read("encoder").config.data["clips"]  # one of eight is held out
    7
    """

    folder: Path
    config: Config  # settings, targets, data, versions and `result`
    history: list[dict[str, Any]]  # per epoch: "epoch", mean "training" and "validation" losses

    @property
    def result(self) -> dict[str, Any]:
        """Summary of the training, as in config.toml.

        Keys: epochs, best_epoch (1-based), batches, skipped, training and validation (mean losses
        of the best epoch by worker, and "loss", their weighted sum), constant_guess and mean_guess
        (losses of always predicting a target's median or mean; only if clips were held out),
        seconds, audio_seconds, parameters.
        """
        return self.config.result

    @property
    def skipped_batches(self) -> tuple[str, ...]:
        """The batches whose loss or gradient was not finite: they changed no weights."""
        return tuple(self.result["skipped"])

    @classmethod
    def read(cls, folder: Path | str) -> Pretrained:
        """The result that `pretrain` returned, read from its folder.

        Raises:
            InputError: the folder holds no finished pretraining, or its files are damaged.
        """
        folder = Path(folder)
        config = read_config(folder)
        if config is None:
            raise MissingFile(f"{folder}: no {NAME} here; is this what `augury pretrain` wrote?")
        if not config.result:
            raise InputError(f"{folder}: its pretraining has not ended; run the same command again")
        path = folder / "history.json"
        try:
            with explain_os_errors(path):
                history = json.loads(path.read_text("utf-8"))
        except MissingFile as error:
            raise MissingFile(f"{path}: no such file; restore it, or pretrain again") from error
        except UnusableFile:
            raise
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}); restore it") from error
        epochs = cast(list[Any], history) if isinstance(history, list) else []
        if not isinstance(history, list) or len(epochs) != config.result.get("epochs"):
            raise InputError(f"{path}: not the history of this run; restore it, or pretrain again")
        return cls(folder, config, epochs)
