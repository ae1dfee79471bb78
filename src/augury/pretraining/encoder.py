"""The encoder: log-mel in, one vector of features a frame out.

Blocks of convolutions that pool neighbouring bands but never frames, a bidirectional LSTM, dense
layers. The sizes of the `paper` preset are those of the authors' released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augury import audio
from augury.errors import InputError
from augury.learning.layers import (
    BidirectionalLSTM,
    ConvolutionBlock,
    FrameNorm,
    MaskedLeakyReLU,
    mask,
    reversal,
)
from augury.pretraining.settings import EncoderSettings


class Encoder(nn.Module):
    """Features (batch, frames, dimensions) of log-mel in dB, or of signals at 16 kHz.

    Frames beyond an utterance's length have no influence: not in a convolution at its edge, nor in
    the LSTM, nor in the statistics of a batch. So, in eval mode, an utterance's features do not
    depend on the other utterances of its batch.
    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(settings.bands))  # of the training frames, dB
        self.register_buffer("standard_deviation", torch.ones(settings.bands))
        self.log_mel = LogMel(settings.bands)
        bands, channels, blocks = settings.bands, 1, []
        for wider, pool in zip(settings.channels, settings.pools, strict=True):
            widths = (channels, *[wider] * settings.convolutions)
            blocks.append(ConvolutionBlock(widths, bands, pool, settings.dropout))
            channels, bands = wider, bands // pool
        self.blocks = nn.ModuleList(blocks)
        width, layers = channels * bands, []
        for _ in range(settings.recurrent_layers):
            layers.append(BidirectionalLSTM(width, settings.recurrent_units))
            width = 2 * settings.recurrent_units
        self.recurrent = nn.ModuleList(layers)
        dense = []
        for _ in range(settings.dense_layers):
            dense += [
                nn.Linear(width, settings.dimensions),
                FrameNorm(settings.dimensions),
                nn.LeakyReLU(),
                nn.Dropout(settings.dropout),
            ]
            width = settings.dimensions
        self.dense = nn.Sequential(*dense)
        self.recurrent_dropout = nn.Dropout(settings.dropout)  # after each layer of the LSTM

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (batch, frames, dimensions), 0 beyond each utterance's frames.

        Args:
            x: (batch, samples) or (samples,) signal at 16 kHz, full scale ±1; or log-mel (batch,
                frames, bands) in dB as `augury.audio.log_mel` returns it, not normalised.
            lengths: (batch,) samples or frames of each utterance; the whole width of `x` if not
                given.
        """
        if x.ndim == 1:
            x = x[None]  # (batch, samples)
        if x.ndim == 2:
            x, lengths = self.log_mel(x, lengths)  # (batch, frames, bands), (batch,)
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)  # (batch,)
        inside = mask(lengths, x.shape[1])  # (batch, frames)
        packed = self.encode_frames(self.normalise(x), lengths, inside)  # (frames inside, dims)
        features = packed.new_zeros(*inside.shape, packed.shape[-1])  # (batch, frames, dims)
        features[inside] = packed
        return features

    def normalise(self, mel: Tensor) -> Tensor:
        """The log-mel with mean 0 and standard deviation 1 a band, over the training frames."""
        return (mel - self.mean) / self.standard_deviation

    def encode_frames(self, mel: Tensor, lengths: Tensor, inside: Tensor) -> Tensor:
        """Features of the frames inside their utterances, one utterance after another.

        Args:
            mel: (batch, frames, bands), normalised.
            lengths: (batch,) frames.
            inside: (batch, frames), true for frames inside their utterances; see `mask`.

        Returns:
            (frames inside, dimensions).
        """
        beyond = (~inside).flatten().nonzero()[:, 0]  # (frames beyond,)
        x = mel[..., None].contiguous()  # (batch, frames, bands, 1)
        x = MaskedLeakyReLU.apply(x, beyond, 1.0)  # slope 1: frames beyond are set to 0, no more
        for block in self.blocks:
            x = block(x, beyond)  # (batch, frames, fewer bands, channels)
        x = x.transpose(0, 1).flatten(2)  # (frames, batch, bands * channels)
        backwards = reversal(lengths, len(x))  # (frames * batch,)
        for layer in self.recurrent:
            x = self.recurrent_dropout(layer(x, backwards))  # (frames, batch, 2 * units)
        x = x.transpose(0, 1)[inside]  # (frames inside, 2 * units)
        return self.dense(x)  # (frames inside, dimensions)


class LogMel(nn.Module):
    """`augury.audio.log_mel` on tensors."""

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        window, filters = audio.window_and_filters(audio.RATE, bands)
        self.register_buffer("window", torch.tensor(window), persistent=False)
        self.register_buffer("filters", torch.tensor(filters), persistent=False)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel (batch, frames, bands) in dB, and frames (batch,), of signals (batch, samples).

        `lengths`: (batch,) samples of each signal; all of them if not given.
        """
        width, hop = len(self.window), round(audio.HOP * audio.RATE)
        if lengths is None:
            lengths = torch.full((len(signal),), signal.shape[1], device=signal.device)
        frames = 1 + (lengths - width) // hop
        if int(lengths.min()) < width:
            raise InputError(
                f"a signal of {int(lengths.min())} samples; one window of {width} is the least"
            )
        windows = signal.unfold(1, width, hop) * self.window  # (batch, frames, samples)
        spectra = torch.fft.rfft(windows)  # (batch, frames, frequencies)
        power = spectra.real.square() + spectra.imag.square()
        mel = (power @ self.filters).clamp_min(audio.FLOOR)  # (batch, frames, bands)
        return 10 * mel.log10(), frames
