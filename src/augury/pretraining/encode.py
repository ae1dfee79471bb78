"""A pretrained encoder put to use."""

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
from augury.errors import InputError
from augury.pretraining import config
from augury.pretraining.encoder import Encoder
from augury.store import write_atomically

#: Recordings are encoded in pieces of so many frames, each with what lies around it as context:
#: an encoder of short clips has not seen long ones, and would need memory for all their frames.
PIECE_FRAMES = 2000
CONTEXT_FRAMES = 200
#: Frames that a piece's length is filled up to a multiple of: torch makes kernels for each length
#: it meets, which takes as long as encoding a few seconds.
LENGTH_MULTIPLE = 16


def load_encoder(folder: Path | str) -> Encoder:
    """The encoder that `augury pretrain` left in a folder, ready to be called, in eval mode.

    InputError says what the folder lacks.
    """
    folder = Path(folder)
    known = config.read_config(folder)
    if known is None:
        raise InputError(f"{folder}: no {config.NAME} here; is this what `augury pretrain` wrote?")
    if not known.result:
        raise InputError(f"{folder}: its pretraining has not ended; run the same command again")
    path = folder / "model.safetensors"
    try:
        found = {
            name.removeprefix("encoder."): torch.from_numpy(value)
            for name, value in load(path.read_bytes()).items()
            if name.startswith("encoder.")
        }
        with torch.device("meta"):  # sizes alone: a foreign config.toml may ask for any
            expected = Encoder(known.settings.encoder).state_dict()
        if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in expected.items()}:
            raise InputError("its tensors are not those that config.toml describes")
        encoder = Encoder(known.settings.encoder)
        encoder.load_state_dict(found)
    except (FileNotFoundError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not this encoder's weights ({error}); copy it again") from error
    return encoder.eval()


def encode(encoder: Encoder, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (frames, dimensions) of one signal (samples,) at 16 kHz, of any length.

    Frame i is centred 12.5 ms + i · 10 ms from the beginning. Beyond 20 s the signal is encoded in
    pieces of 20 s, with 2 s of context on either side that are then cut off.

    InputError if it is shorter than one window of 25 ms.
    """
    return encode_log_mel(encoder, audio.log_mel(signal))


def encode_log_mel(encoder: Encoder, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (frames, dimensions) of a log-mel (frames, bands) in dB; see `encode`."""
    pieces = []
    with torch.inference_mode():
        for first in range(0, len(mel), PIECE_FRAMES):
            begin = max(0, first - CONTEXT_FRAMES)
            piece = torch.from_numpy(mel[begin : first + PIECE_FRAMES + CONTEXT_FRAMES]).to(
                encoder.mean.device
            )
            frames = torch.tensor([len(piece)], device=piece.device)
            filled = F.pad(piece, (0, 0, 0, -len(piece) % LENGTH_MULTIPLE))[None]
            features = encoder(filled, frames)[0, first - begin : len(piece)][:PIECE_FRAMES]
            pieces.append(features.float().cpu().numpy())
    return np.concatenate(pieces)


def encode_files(
    encoder: Encoder, recordings: Iterable[Path], folder: Path
) -> Iterator[tuple[Path, Path | Exception]]:
    """Each recording, and the NAME.npy written of it into a folder, or why there is none."""
    taken: dict[Path, Path] = {}
    for path in recordings:
        into = folder / f"{path.stem}.npy"
        if into in taken:
            detail = f"{path}: {into} was already written, of {taken[into]}; give another --out"
            yield path, ValueError(detail)
            continue
        try:
            signal, rate = audio.decode(path.read_bytes(), str(path))
            features = encode(encoder, audio.resample(signal, rate))
        except (OSError, ValueError) as error:
            yield path, error
            continue
        data = io.BytesIO()
        np.save(data, features, allow_pickle=False)
        write_atomically(into, data.getvalue())
        taken[into] = path
        yield path, into
