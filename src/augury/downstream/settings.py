"""The settings of downstream tasks: those that all share, and each task's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from augury.downstream.scores import phones
from augury.errors import InputError
from augury.settings import Settings, read_preset, setting

Sizes = tuple[Annotated[int, setting("a size", 1, 10_000)], ...]


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """How a downstream task is trained and tested; each task adds its own. A preset is TOML.

    >>> ClassifySettings.of("small", "classify", label="digit", hidden=64).hidden
    64
    """

    of_what: ClassVar[str] = "a downstream task"

    label: Annotated[str, setting("column with the transcript, the speaker, or the class")]
    mode: Annotated[
        Literal["frozen", "finetune"], setting("frozen, or finetune: the encoder is trained, too")
    ] = "frozen"
    train: Annotated[str, setting("split to train on")] = ""
    validation: Annotated[
        str, setting("split, or share of the training data, to choose the best epoch by")
    ] = ""
    test: Annotated[str, setting("split, or share of the speakers, to test on")] = ""
    folds: Annotated[
        int,
        setting("number of folds of the speakers, each tested on in turn; 0: none", 0, 1000),
    ] = 0
    shared_speakers: Annotated[bool, setting("let speakers be in both train and test")] = False
    exclude: Annotated[
        tuple[str, ...], setting("a label, or a symbol of transcripts, to exclude")
    ] = ()
    epochs: Annotated[int, setting("passes over the data", 1, 100_000)] = 10
    batch_seconds: Annotated[
        float, setting("length of a batch, padding included", 0.1, 1e6, unit="seconds")
    ] = 80.0
    longest: Annotated[
        float,
        setting("stretches that are longer are left out of training", 0.05, 3600, unit="seconds"),
    ] = 20.0
    learning_rate: Annotated[
        float, setting("of Adam, for the model on top of the encoder", 1e-12, 1e3)
    ] = 1e-3
    encoder_rate: Annotated[
        float, setting("of SGD with momentum, for an encoder that is finetuned", 1e-12, 1e3)
    ] = 0.005
    momentum: Annotated[float, setting("of that SGD", 0, 0.9999)] = 0.9
    schedule: Annotated[
        Literal["constant", "linear", "cosine"], setting("of the learning rate")
    ] = "constant"
    clip: Annotated[float, setting("largest norm of the gradient", 1e-6, 1e6)] = 5.0
    patience: Annotated[
        int,
        setting("epochs without a better validation score, then stop; 0: never", 0, 100_000),
    ] = 0
    max_bad: Annotated[float, setting("share of segments that may be unusable", 0, 1)] = 0.05
    max_skipped: Annotated[
        int, setting("most batches with a loss that is not finite, before the run stops", 0, 10**9)
    ] = 20
    centred: Annotated[
        bool, setting("subtract the mean over each stretch (mostly a recording) from the features")
    ] = False
    cache: Annotated[bool, setting("compute a frozen encoder's features once and keep them")] = True
    random_encoder: Annotated[
        str, setting("preset of pretraining that gives the sizes of a random encoder")
    ] = "small"

    def check(self) -> None:
        """Raise InputError where settings do not go together."""
        if self.batch_seconds < self.longest:
            raise InputError(
                f"batch_seconds is {self.batch_seconds:g}, less than the longest stretch of "
                f"{self.longest:g} s; raise it, or lower longest"
            )
        if self.folds == 1:
            raise InputError("folds is 1, but must be 0 (none) or at least 2")
        if self.folds and self.test:
            raise InputError(
                "folds and test can't be combined, as both say what is tested on; leave one out"
            )

    @classmethod
    def of(cls, preset: str | Path, task: str, **choices: Any) -> Self:
        """The settings of a task's preset ("paper", "small", or a TOML file), changed by `choices`.

        A user's own task has no presets: "small" stands for its defaults.
        """
        is_own = ":" in task and preset == "small"
        values = {} if is_own else read_preset(preset, task)
        return cls.from_choices(values | choices)


@dataclass(frozen=True)
class AsrSettings(EvaluateSettings):
    """How speech is recognised. Defaults are the paper's."""

    of_what: ClassVar[str] = "the task asr"

    units: Annotated[
        Literal["phones", "characters", "words"],
        setting("what the label consists of; phones and words stand between spaces"),
    ] = "phones"
    fold: Annotated[
        Literal["", "timit39", "timit48", "arpabet39", "arpabet48"],
        setting("fold phones to TIMIT's 39 or 48"),
    ] = ""
    merge_silences: Annotated[
        bool, setting("when folding, merge neighbouring silences, as in SpeechBrain")
    ] = True
    joined: Annotated[
        bool, setting("rows are phones; a recording's rows, in order, are its transcript")
    ] = False
    decoder: Annotated[
        Literal["attention", "ctc"], setting("attention (with CTC), or CTC alone, which is fast")
    ] = "attention"
    channels: Annotated[Sizes, setting("channels of each convolutional block; none: no blocks")] = (
        128,
        256,
    )
    convolutions: Annotated[int, setting("convolutions in a block", 1, 10)] = 2
    pools: Annotated[Sizes, setting("neighbouring features merged after each block")] = (2, 2)
    projection: Annotated[
        int,
        setting("units that features are projected to if there are no blocks; 0: none", 0, 100_000),
    ] = 0
    time_pool: Annotated[int, setting("neighbouring frames merged", 1, 100)] = 2
    recurrent: Annotated[Literal["ligru", "lstm"], setting("kind of recurrent layers")] = "ligru"
    recurrent_layers: Annotated[int, setting("recurrent layers", 1, 20)] = 4
    recurrent_units: Annotated[int, setting("units in each direction", 1, 10_000)] = 512
    dense_layers: Annotated[int, setting("dense layers", 0, 20)] = 2
    dimensions: Annotated[int, setting("units of a dense layer", 1, 100_000)] = 512
    dropout: Annotated[float, setting("share of values dropped in training", 0, 0.95)] = 0.15
    decoder_units: Annotated[int, setting("units of the decoder", 1, 10_000)] = 256
    embedding: Annotated[int, setting("dimensions of a symbol's embedding", 1, 10_000)] = 128
    attention: Annotated[int, setting("dimensions in which attention compares", 1, 10_000)] = 256
    ctc_weight: Annotated[
        float, setting("weight of CTC in the loss; the rest is the decoder's", 0, 1)
    ] = 0.2
    smoothing: Annotated[float, setting("label smoothing of the decoder", 0, 0.95)] = 0.1
    beam: Annotated[int, setting("hypotheses kept in the search", 1, 10_000)] = 16
    beam_ctc_weight: Annotated[float, setting("weight of CTC in the search", 0, 1)] = 0.2

    def check(self) -> None:
        """Raise InputError where settings do not go together."""
        super().check()
        if self.units != "phones" and self.fold:
            raise InputError(f"fold is for phones, not for {self.units}; leave it out")
        if self.channels and len(self.channels) != len(self.pools):
            raise InputError(
                f"channels has {len(self.channels)} blocks and pools {len(self.pools)}; give each "
                "block one of both"
            )

    def tokens(self, text: str) -> tuple[str, ...]:
        """The symbols of a transcript, without those that are excluded."""
        words = text.split()
        symbols = list(" ".join(words)) if self.units == "characters" else words
        if self.fold:
            labels = phones.arpabet(text) if self.fold.startswith("arpabet") else symbols
            size = int(self.fold[-2:])
            symbols = phones.fold(labels, to=size, merge_silences=self.merge_silences)
        return tuple(symbol for symbol in symbols if symbol not in self.exclude)


@dataclass(frozen=True)
class SpeakerSettings(EvaluateSettings):
    """How speakers are verified. Defaults are the paper's."""

    of_what: ClassVar[str] = "the task speaker"

    label: Annotated[str, setting("column with the speaker")] = "speaker"
    channels: Annotated[Sizes, setting("channels of each layer over time")] = (
        512,
        512,
        512,
        512,
        1500,
    )
    kernels: Annotated[Sizes, setting("frames that each of these layers sees")] = (5, 3, 3, 1, 1)
    dilations: Annotated[Sizes, setting("frames from one of these to the next")] = (1, 2, 3, 1, 1)
    stride: Annotated[
        int, setting("frames from one output of the first layer to the next", 1, 100)
    ] = 1
    dimensions: Annotated[int, setting("dimensions of the speaker embedding", 1, 100_000)] = 512
    dropout: Annotated[float, setting("share of whole channels dropped in training", 0, 0.95)] = 0.0
    crop: Annotated[
        float, setting("length of a recording trained on at a time", 0.05, 3600, unit="seconds")
    ] = 3.0
    crops: Annotated[int, setting("crops of each recording in an epoch", 1, 10_000)] = 1
    backend: Annotated[
        Literal["plda", "cosine"], setting("score whose error rate is the main one")
    ] = "plda"
    rank: Annotated[int, setting("dimensions of LDA, at most", 1, 10_000)] = 100
    trials: Annotated[
        str,
        setting("a list of trials such as VoxCeleb's; by default drawn from the test recordings"),
    ] = ""
    made: Annotated[
        int, setting("number of trials to draw, half of them of one speaker", 2, 10**9)
    ] = 30_000

    def check(self) -> None:
        """Raise InputError where settings do not go together."""
        super().check()
        if self.folds:
            raise InputError(
                "folds is not for the task speaker, as embeddings of different models can't be "
                "compared; leave it out"
            )
        if not len(self.channels) == len(self.kernels) == len(self.dilations) > 0:
            raise InputError("channels, kernels and dilations must have one number for each layer")


@dataclass(frozen=True)
class ClassifySettings(EvaluateSettings):
    """How segments are classified."""

    of_what: ClassVar[str] = "the task classify"

    parts: Annotated[
        int, setting("equal stretches of a segment in time, each pooled by itself", 1, 1000)
    ] = 1
    hidden: Annotated[
        int, setting("units of a hidden layer; 0: none, a linear probe", 0, 100_000)
    ] = 0
    dropout: Annotated[
        float, setting("share dropped before the hidden layer and after it", 0, 0.95)
    ] = 0.0


#: The settings of the tasks that ship with Augury.
TASK_SETTINGS = {"asr": AsrSettings, "speaker": SpeakerSettings, "classify": ClassifySettings}
