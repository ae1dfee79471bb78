"""The settings of pretraining, and of the encoder that is pretrained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from augury.audio import BANDS
from augury.errors import InputError
from augury.settings import Settings, read_preset, setting

Sizes = tuple[Annotated[int, setting("a size", 1, 10_000)], ...]


@dataclass(frozen=True)
class EncoderSettings(Settings):
    """The encoder's sizes. Defaults are the paper's."""

    of_what: ClassVar[str] = "an encoder"

    bands: Annotated[int, setting("bands of the log-mel that comes in", 1, 1000)] = BANDS
    channels: Annotated[Sizes, setting("channels of each block")] = (128, 200, 256)
    convolutions: Annotated[int, setting("convolutions in a block", 1, 10)] = 2
    pools: Annotated[Sizes, setting("neighbouring bands merged after each block")] = (2, 2, 2)
    recurrent_layers: Annotated[int, setting("layers of the LSTM", 0, 20)] = 5
    recurrent_units: Annotated[int, setting("units in each direction", 1, 10_000)] = 256
    dense_layers: Annotated[int, setting("dense layers; 0: features are the LSTM's", 0, 20)] = 2
    dimensions: Annotated[int, setting("dimensions of the features", 1, 100_000)] = 256
    dropout: Annotated[float, setting("share of values dropped in training", 0, 0.95)] = 0.15

    def check(self) -> None:
        """Raise InputError if settings contradict each other."""
        if len(self.channels) != len(self.pools) or not self.channels:
            raise InputError(
                f"channels has {len(self.channels)} blocks and pools {len(self.pools)}; give each "
                "block one of both"
            )
        merged = math.prod(self.pools)
        if merged > self.bands:
            raise InputError(f"pools {list(self.pools)} leave none of {self.bands} bands")
        wide = 2 * self.recurrent_units
        if not self.dense_layers and not (self.recurrent_layers and self.dimensions == wide):
            raise InputError(
                f"without dense layers the features are the LSTM's {wide} numbers: let dimensions "
                "be that, and recurrent_layers at least 1"
            )

    @property
    def operations(self) -> int:
        """Multiplications and additions for a frame, forward; training takes three times that."""
        bands, channels, products = self.bands, 1, 0
        for wider, pool in zip(self.channels, self.pools, strict=True):
            for _ in range(self.convolutions):
                products += bands * 9 * channels * wider
                channels = wider
            bands //= pool
        width = channels * bands
        for _ in range(self.recurrent_layers):
            products += 2 * 4 * self.recurrent_units * (width + self.recurrent_units)
            width = 2 * self.recurrent_units
        for _ in range(self.dense_layers):
            products += width * self.dimensions
            width = self.dimensions
        return 2 * products


@dataclass(frozen=True)
class PretrainSettings(Settings):
    """How an encoder is pretrained. A preset is a TOML file of these; defaults are the paper's.

    >>> PretrainSettings.of("small", {"F0": 1.0}, epochs=3).epochs
    3
    """

    of_what: ClassVar[str] = "pretraining"

    pseudo_labels: Annotated[
        dict[str, Any], setting("names, and the weights of their workers in the loss")
    ]
    encoder: Annotated[EncoderSettings, setting("the encoder's sizes")] = EncoderSettings()
    mel: Annotated[
        float,
        setting("weight of reconstructing the log-mel; 0: no such worker", 0, 1e6),
    ] = 1.0
    mfcc: Annotated[float, setting("weight of reconstructing MFCCs; 0: no such worker", 0, 1e6)] = (
        1.0
    )
    coefficients: Annotated[int, setting("MFCCs", 1, 1000)] = 40
    unvoiced: Annotated[
        Literal["published", "voiced"],
        setting(
            "published: predict openSMILE's 0 (F0) or -100 (log HNR) where there is no voice; "
            "voiced: predict nothing there"
        ),
    ] = "published"
    context: Annotated[
        int, setting("frames on either side whose targets a frame predicts, too", 0, 100)
    ] = 0
    prelu: Annotated[bool, setting("a PReLU after each worker's linear layer")] = True
    epochs: Annotated[int, setting("passes over the data", 1, 100_000)] = 10
    batch_seconds: Annotated[
        float, setting("length of a batch, padding included", 0.1, 1e6, unit="seconds")
    ] = 80.0
    longest: Annotated[
        float, setting("clips that are longer are left out", 0.05, 3600, unit="seconds")
    ] = 10.0
    optimiser: Annotated[Literal["adadelta", "adam"], setting("the optimiser")] = "adadelta"
    learning_rate: Annotated[float, setting("learning rate", 1e-12, 1e3)] = 1.0
    rho: Annotated[float, setting("ρ of AdaDelta", 0, 1)] = 0.8
    epsilon: Annotated[float, setting("ε of the optimiser", 1e-30, 1)] = 1e-8
    schedule: Annotated[
        Literal["constant", "linear", "cosine"],
        setting("of the learning rate; linear: to a tenth; cosine: up for a twentieth, then to 0"),
    ] = "constant"
    clip: Annotated[float, setting("largest norm of the gradient", 1e-6, 1e6)] = 5.0
    patience: Annotated[
        int,
        setting("epochs without a better validation loss, then stop; 0: never", 0, 100_000),
    ] = 0
    split: Annotated[str, setting("pretrain on rows of this split only")] = ""
    validation: Annotated[
        str, setting("share of the recordings held out, or the name of a split; 0: none")
    ] = "0.05"
    max_bad: Annotated[float, setting("share of clips that may be unusable", 0, 1)] = 0.05
    max_skipped: Annotated[
        int, setting("batches not finite that are skipped before the run stops", 0, 10**9)
    ] = 20
    seed: Annotated[int, setting("of weights, batches, dropout and what is held out", 0, 2**31)] = 0

    def check(self) -> None:
        """Raise InputError if settings contradict each other."""
        for name, weight in self.pseudo_labels.items():
            if isinstance(weight, bool) or not (
                isinstance(weight, int | float) and 0 < weight <= 1e6
            ):
                raise InputError(f"the weight of {name} is {weight!r}, but must be above 0")
        if self.coefficients > self.encoder.bands:
            raise InputError(
                f"coefficients is {self.coefficients}, but must be a whole number from 1 to "
                f"{self.encoder.bands}"
            )
        if self.encoder.bands != BANDS:
            raise InputError(
                f"bands is {self.encoder.bands}, but a recording's log-mel has {BANDS}"
            )
        if self.patience and self.validation in ("", "0"):
            raise InputError("patience needs a validation loss; hold something out for it")
        if not (self.pseudo_labels or self.mel or self.mfcc):
            raise InputError(
                "nothing to predict: no pseudo-labels, and mel and mfcc both weigh 0; give one"
            )
        if self.batch_seconds < self.longest:
            raise InputError(
                f"batch_seconds is {self.batch_seconds:g}, less than the longest clip of "
                f"{self.longest:g} s; raise it, or lower longest"
            )

    @classmethod
    def of(
        cls, preset: str | Path, pseudo_labels: Mapping[str, float], **choices: Any
    ) -> PretrainSettings:
        """The settings of a preset ("paper", "small", or a TOML file), some of them replaced."""
        values = read_preset(preset)
        if isinstance(values.get("encoder"), Mapping) and isinstance(
            choices.get("encoder"), Mapping
        ):
            choices["encoder"] = {**values["encoder"], **choices["encoder"]}
        return cls.from_dict(values | choices, pseudo_labels)

    @classmethod
    def from_dict(
        cls, choices: Mapping[str, Any], pseudo_labels: Mapping[str, float]
    ) -> PretrainSettings:
        """From plain values, as `to_dict` returns them; InputError for an unknown setting."""
        return cls.from_choices({**choices, "pseudo_labels": dict(pseudo_labels)})
