"""The models to compare: log-mel features, a random encoder, or pretrained ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray

from augury.downstream.settings import EvaluateSettings
from augury.errors import InputError, MissingFile
from augury.pretraining import config
from augury.pretraining.encode import load_encoder
from augury.pretraining.encoder import Encoder
from augury.pretraining.settings import PretrainSettings
from augury.store import digest, key

#: A function from a seed and the mean and standard deviation (bands,) of the log-mel in dB to the
#: encoder, in eval mode, and a digest that identifies its features in the store.
LoadEncoder = Callable[[int, NDArray, NDArray], tuple[Encoder, str]]

#: Names of baselines, which can't be names of encoders' folders.
MEL, RANDOM = "mel", "random"


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder to evaluate, or log-mel, before it is loaded."""

    name: str  # "mel", "random", or the encoder's folder
    mode: str  # "frozen" or "finetune"
    pseudo_labels: tuple[str, ...] | None  # of its pretraining; None: not pretrained
    digest: str  # of its weights, or of the settings of a random encoder
    load: LoadEncoder | None  # None: log-mel


def find_encoders(
    encoders: str | Path | Sequence[str | Path], settings: EvaluateSettings
) -> list[EncoderSpec]:
    """The encoders to evaluate, in the order given.

    Raises:
        InputError: no encoders, no such folder, not an encoder, or two with the same name.

    >>> settings = EvaluateSettings(label="digit", mode="finetune")
    >>> [(spec.name, spec.mode) for spec in find_encoders(["mel", "random"], settings)]
    [('mel', 'frozen'), ('random', 'finetune')]
    """
    if isinstance(encoders, str | Path):
        encoders = [encoders]
    specs = [_find_encoder(encoder, settings) for encoder in encoders]
    if not specs:
        raise InputError("there is no encoder to evaluate; give a folder, mel, or random")
    name, count = Counter(spec.name for spec in specs).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"two encoders are named {name}; rename one folder, as results are named after it"
        )
    return specs


def _find_encoder(encoder: str | Path, settings: EvaluateSettings) -> EncoderSpec:
    if str(encoder) == MEL:
        return EncoderSpec(MEL, "frozen", None, MEL, None)  # there is no encoder to finetune
    if str(encoder) == RANDOM:
        return _random_encoder(settings)
    folder = Path(encoder)
    if not folder.is_dir():
        raise MissingFile(
            f"{encoder}: no such encoder; give a folder that `augury pretrain` wrote, mel, or "
            "random"
        )
    name = folder.absolute().name
    if name in (MEL, RANDOM):
        raise InputError(f"{encoder}: this is the name of a baseline; rename the folder")
    load_encoder(folder)  # a damaged encoder is reported now rather than after hours
    run = config.read_config(folder)
    assert run
    weights = digest((folder / "model.safetensors").read_bytes())
    labels = tuple(run.settings.pseudo_labels)
    return EncoderSpec(
        name, settings.mode, labels, weights, lambda *_: (load_encoder(folder), weights)
    )


def _random_encoder(settings: EvaluateSettings) -> EncoderSpec:
    """An encoder of the sizes in the settings' preset, with random weights from each run's seed."""
    sizes = PretrainSettings.of(settings.random_encoder, {}).encoder
    sizes_key = key("random", asdict(sizes))

    def load(seed: int, mean: NDArray, std: NDArray) -> tuple[Encoder, str]:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            encoder = Encoder(sizes)
        encoder.mean.copy_(torch.from_numpy(mean))
        encoder.standard_deviation.copy_(torch.from_numpy(std))
        return encoder.eval(), key(sizes_key, seed, mean.tolist(), std.tolist())

    return EncoderSpec(RANDOM, settings.mode, None, sizes_key, load)
