"""Load a pretrained encoder, and encode signals and files with it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from augury import audio
from augury.errors import InputError, MissingFile, explain_os_errors
from augury.pretraining import config
from augury.pretraining.encoder import Encoder
from augury.store import write_atomically

#: A segment is padded to a multiple of so many frames: torch prepares kernels for each new length,
#: which takes as long as encoding a few seconds of speech.
LENGTH_MULTIPLE = 16


def load_encoder(folder: Path | str) -> Encoder:
    """The encoder that `augury pretrain` wrote into a folder, in eval mode, on the CPU.

    Call it on signals (batch, samples) at 16 kHz, or log-mel (batch, frames, bands) in dB; `encode`
    does so for one signal of any length.

    Raises:
        MissingFile: the folder holds no encoder.
        InputError: it holds an unfinished or a damaged one.

    >>> import augury
    >>> speech = augury.read_corpus(Path(augury.__file__).parent / "demo_data" / "manifest.csv")
    >>> few = speech.select(speech.recording < 8)
    >>> _ = augury.pretrain(few, ["own:rms"], out="encoder", jobs=1, epochs=1)
    >>> load_encoder("encoder")(torch.zeros(16_000)).shape
    torch.Size([1, 98, 256])
    """
    folder = Path(folder)
    written = config.read_config(folder)
    if written is None:
        raise MissingFile(f"{folder}: no {config.NAME} here; is this what `augury pretrain` wrote?")
    if not written.result:
        raise InputError(f"{folder}: its pretraining has not ended; run the same command again")
    path = folder / "model.safetensors"
    with explain_os_errors(path):
        data = path.read_bytes()
    try:
        weights = {
            name.removeprefix("encoder."): torch.from_numpy(value)
            for name, value in load(data).items()
            if name.startswith("encoder.")
        }
        with torch.device("meta"):  # sizes alone: a foreign config.toml may ask for any
            expected = Encoder(written.settings.encoder).state_dict()
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
            raise InputError("its tensors are not those that config.toml describes")
        encoder = Encoder(written.settings.encoder)
        encoder.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not this encoder's weights ({error}); copy it again") from error
    return encoder.eval()


def encode(encoder: Encoder, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (frames, dimensions) of a signal (samples,) at 16 kHz, full scale ±1, any length.

    Frame i is centred at 12.5 ms + i · 10 ms. A signal longer than 20 s is encoded 20 s at a time,
    with 2 s of context on either side, whose features are discarded.

    Raises:
        InputError: the signal is shorter than one window of 25 ms.

    >>> import numpy as np
    >>> from augury.pretraining.encoder import Encoder
    >>> from augury.pretraining.settings import EncoderSettings
    >>> encoder = Encoder(EncoderSettings(channels=(2,), pools=(8,))).eval()
    >>> encode(encoder, np.zeros(16000, np.float32)).shape
    (98, 256)
    """
    return encode_log_mel(encoder, audio.log_mel(signal))


def encode_log_mel(
    encoder: Encoder, mel: NDArray[np.float32], *, chunk: int = 2000, context: int = 200
) -> NDArray[np.float32]:
    """Features (frames, dimensions) of a log-mel (frames, bands) in dB; see `encode`.

    Encoding a chunk at a time bounds memory, and keeps inputs near the length of the clips that
    the encoder was pretrained on.

    Args:
        chunk: frames encoded at a time.
        context: frames before and after a chunk that its features may depend on.
    """
    chunks = []
    device = encoder.mean.device
    with torch.inference_mode():
        for first in range(0, len(mel), chunk):
            begin, end = max(0, first - context), first + chunk + context
            x = torch.from_numpy(mel[begin:end]).to(device)  # (frames, bands)
            lengths = torch.tensor([len(x)], device=device)
            padded = F.pad(x, (0, 0, 0, -len(x) % LENGTH_MULTIPLE))[None]  # (1, frames, bands)
            features = encoder(padded, lengths)[0, first - begin : len(x)][:chunk]
            chunks.append(features.float().cpu().numpy())
    return np.concatenate(chunks)


def encode_files(
    encoder: Encoder, recordings: Iterable[Path], folder: Path
) -> Iterator[tuple[Path, Path | Exception]]:
    """Encode recordings into a folder, one NAME.npy (frames, dimensions) each.

    Yields:
        Each recording, with the path of its features, or the error because of which it has none.

    Raises:
        UnusableFile: the folder can't be written to.
    """
    written: dict[Path, Path] = {}  # file of features → its recording
    for path in recordings:
        file = folder / f"{path.stem}.npy"
        if file in written:
            detail = f"{path}: {file} was already written, of {written[file]}; give another --out"
            yield path, InputError(detail)
            continue
        try:
            signal, rate = audio.decode(path.read_bytes(), str(path))
            features = encode(encoder, audio.resample(signal, rate))
        except (OSError, ValueError) as error:
            yield path, error
            continue
        data = io.BytesIO()
        np.save(data, features, allow_pickle=False)
        write_atomically(file, data.getvalue())
        written[file] = path
        yield path, file
