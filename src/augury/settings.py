"""What a stage was asked to do: one frozen dataclass a stage."""

from __future__ import annotations

import difflib
import math
import numbers
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

from augury.audio import BANDS
from augury.errors import InputError
from augury.extraction.plan import Embedding
from augury.pseudolabels.candidate import SEVEN

Settings = TypeVar("Settings")

ESTIMATORS = ("robust", "paper", "released")
EMBEDDINGS = ("gaussian", "svcca")
UNVOICED = ("published", "voiced")


@dataclass(frozen=True)
class RankSettings:
    """How a ranking is made. Defaults are the paper's values."""

    label: str  # column with the downstream label
    candidates: tuple[str, ...] = tuple(SEVEN)
    estimator: str = "robust"  # see augury.hsic.estimators
    embedding: str = "gaussian"  # or "svcca", the paper's robustness check
    parts: int = 0  # N; 0: 20, and 10 for `released` as in its TIMIT run
    downsampling_width: float = 0.07  # σ_gd, a fraction of a segment's length
    kernel_width: float = 0.05  # σ of L in the pseudo-label's units; `paper` only
    unvoiced: str = "published"  # frames without voice: as openSMILE writes them, or left out
    split: str = ""  # keep only rows of this split
    exclude: tuple[str, ...] = ()  # labels left out
    max_bad: float = 0.05  # share of segments that may be unusable
    sensitivity: bool = True  # whether the order is looked at under other settings too
    tolerance: float = 1e-6  # relative error that approximations of a class's value aim at
    bootstrap: int = 1000  # replicates for intervals, ranks and tiers; 0: none
    group: str = ""  # column whose groups are resampled whole; "recording"; "segment"; "": see rank
    permutations: int = 0  # shuffles for p-values; 0: by moments (robust only)
    seed: int = 0  # of bootstrap and permutations

    def __post_init__(self) -> None:
        among(self, "estimator", ESTIMATORS)
        among(self, "embedding", EMBEDDINGS)
        among(self, "unvoiced", UNVOICED)
        if not self.parts:
            object.__setattr__(self, "parts", 10 if self.estimator == "released" else 20)
        for name, low, high in (
            ("parts", 1, 1000),
            ("downsampling_width", 1e-3, 10.0),
            ("kernel_width", 1e-100, 1e100),
            ("tolerance", 1e-12, 0.1),
            ("bootstrap", 0, 100_000),
            ("permutations", 0, 100_000),
            ("seed", 0, 2**63),
            ("max_bad", 0, 1),
        ):
            whole = name in ("parts", "bootstrap", "permutations", "seed")
            _within(self, name, low, high, whole=whole)
        if self.estimator == "released" and self.parts % 2:
            raise InputError(f"parts is {self.parts}, but the released recipe needs an even number")
        if isinstance(self.exclude, str) or isinstance(self.candidates, str):
            raise InputError("exclude and candidates are lists of names; put the one in a list")
        if self.permutations and self.estimator == "released":
            raise InputError(
                "the released code hardly centres its kernels, and shuffles of its score mean "
                "nothing; leave out permutations, or choose robust or paper"
            )
        if 0 < self.bootstrap < 100:
            raise InputError(
                f"bootstrap is {self.bootstrap}, but 95 % need at least 100; or 0: none"
            )
        if self.estimator == "released" and self.embedding == "svcca":
            raise InputError("the released code embeds by Gaussian downsampling only; drop svcca")

    @classmethod
    def of(cls, **choices: Any) -> RankSettings:
        """Settings from keywords; an unknown one is an error that names the nearest."""
        return _made(cls, choices, "a ranking")

    def base_embedding(self) -> Embedding:
        """The embedding that these settings ask for."""
        kind = "released" if self.estimator == "released" else self.embedding
        return Embedding(kind, self.parts, self.downsampling_width)

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class EncoderSettings:
    """The encoder's sizes. Defaults are the paper's."""

    bands: int = BANDS  # of the log-mel that comes in
    channels: tuple[int, ...] = (128, 200, 256)  # of each block
    convolutions: int = 2  # in a block
    pools: tuple[int, ...] = (2, 2, 2)  # neighbouring bands merged after each block
    recurrent_layers: int = 5
    recurrent_units: int = 256  # in each direction
    dense_layers: int = 2  # 0: the features are what the LSTM gives
    dimensions: int = 256  # of the features
    dropout: float = 0.15

    def __post_init__(self) -> None:
        _whole_tuple(self, "channels")
        _whole_tuple(self, "pools")
        for name, low, high in (
            ("bands", 1, 1000),
            ("convolutions", 1, 10),
            ("recurrent_layers", 0, 20),
            ("recurrent_units", 1, 10_000),
            ("dense_layers", 0, 20),
            ("dimensions", 1, 100_000),
        ):
            _within(self, name, low, high, whole=True)
        _within(self, "dropout", 0, 0.95)
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
        """Multiplications and additions that a frame costs, forward; training costs thrice that."""
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


OPTIMISERS = ("adadelta", "adam")
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class PretrainSettings:
    """How an encoder is pretrained. A preset is a TOML file of these; defaults are the paper's."""

    pseudo_labels: dict[str, float]  # name → weight of its worker in the loss
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    mel: float = 1.0  # weight of the worker that gives back the log-mel; 0: no such worker
    mfcc: float = 1.0  # weight of the worker for MFCCs; 0: none
    coefficients: int = 40  # MFCCs
    unvoiced: str = "published"  # frames without voice: as openSMILE writes them, or no target
    context: int = 0  # frames on either side whose targets a frame gives, too; the paper: 0
    prelu: bool = True  # after each worker's linear layer, as in the authors' code
    epochs: int = 10
    batch_seconds: float = 80.0  # of a batch, padding included; the authors' 16 clips are about 80
    longest: float = 10.0  # seconds; longer clips are left out
    optimiser: str = "adadelta"
    learning_rate: float = 1.0
    rho: float = 0.8  # of AdaDelta
    epsilon: float = 1e-8  # of the optimiser
    schedule: str = "constant"  # "linear": to a tenth; "cosine": up over a twentieth, down to 0
    clip: float = 5.0  # largest norm of the gradient
    patience: int = 0  # epochs without a better validation loss before stopping; 0: never
    split: str = ""  # pretrain on rows of this split only
    validation: str = "0.05"  # share of the recordings held out, or the name of a split; 0: none
    max_bad: float = 0.05  # share of clips that may be unusable
    max_skipped: int = 20  # batches whose loss or gradient is not finite before the run stops
    seed: int = 0  # of weights, batches, dropout and what is held out

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("unvoiced", UNVOICED),
        ):
            among(self, name, allowed)
        for name, low, high in (
            ("coefficients", 1, self.encoder.bands),
            ("epochs", 1, 100_000),
            ("context", 0, 100),
            ("patience", 0, 100_000),
            ("max_skipped", 0, 10**9),
            ("seed", 0, 2**31),
        ):
            _within(self, name, low, high, whole=True)
        for name, low, high in (
            ("mel", 0, 1e6),
            ("mfcc", 0, 1e6),
            ("batch_seconds", 0.1, 1e6),
            ("longest", 0.05, 3600),
            ("learning_rate", 1e-12, 1e3),
            ("rho", 0, 1),
            ("epsilon", 1e-30, 1),
            ("clip", 1e-6, 1e6),
            ("max_bad", 0, 1),
        ):
            _within(self, name, low, high)
        for name, weight in self.pseudo_labels.items():
            if not (isinstance(weight, int | float) and 0 < weight <= 1e6):
                raise InputError(f"the weight of {name} is {weight!r}, but must be above 0")
        if self.encoder.bands != BANDS:
            raise InputError(f"bands is {self.encoder.bands}, but recordings are given {BANDS}")
        if self.patience and self.validation in ("", "0"):
            raise InputError("patience looks at the validation loss; hold something out for it")
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
        """A preset ("paper", "small", or a TOML file), with other choices in place of its own."""
        given = read_preset(preset)
        if isinstance(given.get("encoder"), Mapping) and isinstance(
            choices.get("encoder"), Mapping
        ):
            choices["encoder"] = {**given["encoder"], **choices["encoder"]}
        return cls.from_dict(given | choices, pseudo_labels)

    @classmethod
    def from_dict(
        cls, choices: Mapping[str, Any], pseudo_labels: Mapping[str, float]
    ) -> PretrainSettings:
        """From plain values, as `to_dict` gives them; an unknown one is an error."""
        given = dict(choices)
        given["encoder"] = _made(EncoderSettings, given.get("encoder", {}), "an encoder")
        return _made(cls, given | {"pseudo_labels": dict(pseudo_labels)}, "pretraining")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as TOML holds them."""
        plain = asdict(self)
        plain["encoder"] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in plain["encoder"].items()
        }
        return plain


MODES = ("frozen", "finetune")


@dataclass(frozen=True)
class EvaluateSettings:
    """How a downstream task is trained and tested; each task adds its own. A preset is TOML."""

    label: str  # column with what is to be told
    mode: str = "frozen"  # or "finetune": the encoder is trained along
    train: str = ""  # split to train on; "": see augury.downstream.splits, as for the next two
    validation: str = ""  # share of what there is to train on, or a split
    test: str = ""  # share of the speakers, or a split
    folds: int = 0  # tested on each of so many parts of the speakers in turn; 0: on one part
    shared_speakers: bool = False  # whether speakers may be in train and test both
    exclude: tuple[str, ...] = ()  # labels left out
    epochs: int = 10
    batch_seconds: float = 80.0  # of a batch, padding included
    longest: float = 20.0  # seconds; longer stretches are left out of training
    learning_rate: float = 1e-3  # of Adam, for what is on top of the encoder
    encoder_rate: float = 0.005  # of SGD with momentum, for an encoder that is trained along
    momentum: float = 0.9
    schedule: str = "constant"
    clip: float = 5.0  # largest norm of the gradient
    patience: int = 0  # epochs without a better validation score before stopping; 0: never
    max_bad: float = 0.05  # share of segments that may be unusable
    max_skipped: int = 20  # batches whose loss or gradient is not finite before the run stops
    centred: bool = False  # features less their mean over the stretch (a recording, mostly)
    cache: bool = True  # a frozen encoder's features are computed once and kept
    random_encoder: str = "small"  # preset of pretraining with a random encoder's sizes

    def __post_init__(self) -> None:
        among(self, "mode", MODES)
        among(self, "schedule", SCHEDULES)
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("patience", 0, 100_000),
            ("max_skipped", 0, 10**9),
            ("folds", 0, 1000),
        ):
            _within(self, name, low, high, whole=True)
        for name, low, high in (
            ("batch_seconds", 0.1, 1e6),
            ("longest", 0.05, 3600),
            ("learning_rate", 1e-12, 1e3),
            ("encoder_rate", 1e-12, 1e3),
            ("momentum", 0, 0.9999),
            ("clip", 1e-6, 1e6),
            ("max_bad", 0, 1),
        ):
            _within(self, name, low, high)
        if self.batch_seconds < self.longest:
            raise InputError(
                f"batch_seconds is {self.batch_seconds:g}, less than the longest stretch of "
                f"{self.longest:g} s; raise it, or lower longest"
            )
        if self.folds == 1 or (self.folds and self.test):
            raise InputError("folds takes two or more, and says itself what is tested on")
        if isinstance(self.exclude, str):
            raise InputError("exclude is a list of labels; put the one in a list")
        object.__setattr__(self, "exclude", tuple(self.exclude))

    @classmethod
    def of(cls, preset: str | Path, task: str, **choices: Any) -> Self:
        """A task's preset ("paper", "small", or a TOML file), with other choices in its place.

        A task of one's own has no presets but its defaults, unless a file is named.
        """
        own = ":" in task and preset == "small"
        given = {} if own else read_preset(preset, task)
        return _made(cls, given | choices, f"the task {task}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def read_preset(preset: str | Path, task: str = "pretrain") -> dict[str, Any]:
    """A preset's choices; InputError if there is none of that name, or it is not TOML."""
    shipped = resources.files("augury").joinpath("presets", task)
    there = shipped.iterdir() if shipped.is_dir() else ()
    names = sorted(one.name.removesuffix(".toml") for one in there)
    source = shipped / f"{preset}.toml" if str(preset) in names else Path(preset)
    try:
        return tomllib.loads(source.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        near = difflib.get_close_matches(str(preset), names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{preset}: no such preset; there are {', '.join([*names, 'any TOML file'])}{hint}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{preset}: not TOML: {error}") from error


# -------------------------------------------------------------------------------- what is checked


def _made(cls: type[Settings], choices: Mapping[str, Any], what: str) -> Settings:
    if not isinstance(choices, Mapping):
        raise InputError(f"the settings of {what} are {choices!r}, but must be a table")
    known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
    for name in choices:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise InputError(f"{name}: no such setting of {what}; {hint}")
    return cls(**choices)


def among(settings: object, name: str, allowed: tuple[str, ...]) -> None:
    """InputError that names the nearest if the setting is none of those allowed."""
    value = getattr(settings, name)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        wanted = " or ".join(one or '""' for one in allowed)
        raise InputError(f"{name} is {value!r}, but must be {wanted}{hint}")


def _within(settings: object, name: str, low: float, high: float, *, whole: bool = False) -> None:
    value = getattr(settings, name)
    wanted = numbers.Integral if whole else numbers.Real
    number = isinstance(value, wanted) and not isinstance(value, bool)
    if not number or not low <= float(value) <= high:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {value!r}, but must be {kind} from {low:g} to {high:g}")


def _whole_tuple(settings: object, name: str) -> None:
    """Lists, as TOML has them, become tuples."""
    value = getattr(settings, name)
    if not isinstance(value, list | tuple) or not all(
        type(one) is int and 1 <= one <= 10_000 for one in value
    ):
        raise InputError(f"{name} is {value!r}, but must be a list of whole numbers, 1 to 10,000")
    object.__setattr__(settings, name, tuple(value))
