"""Equally sized plain recipes beside the tasks' own, on log-mel: what a tutorial would write.

    python benchmarks/plain.py ../shared/data/speechocean762 asr | speaker [--epochs N]

torch's own modules, batches in random order padded with zeros that count like speech (in batch
norms, LSTM and pooling), one fixed learning rate, the last epoch kept. Same splits, sizes and
number of epochs as preset `small`; phones decoded greedily, speakers compared by cosine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import augury
from augury import audio
from augury.downstream.scores import metrics, transcripts
from augury.downstream.settings import AsrSettings, SpeakerSettings
from augury.downstream.splits import assign_splits
from augury.downstream.tasks.asr import join_rows
from augury.downstream.tasks.speaker import make_trials

CLIPS = 16  # in a batch


def mels(corpus: augury.Corpus) -> list[torch.Tensor]:
    found = []
    for path in corpus.recordings:
        signal, rate = audio.decode(path.read_bytes(), str(path))
        found.append(torch.from_numpy(audio.log_mel(audio.resample(signal, rate))))
    return found


def padded(mel: list[torch.Tensor], mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence([(one - mean) / deviation for one in mel], batch_first=True)


class Recogniser(nn.Module):
    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(320, 128, bidirectional=True, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(256, 192), nn.LeakyReLU(), nn.Dropout(0.15))
        self.out = nn.Linear(192, symbols)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, : x.shape[1] // 4 * 4].unflatten(1, (-1, 4)).flatten(2)
        return self.out(self.dense(self.lstm(x)[0])).log_softmax(-1)


class Embedder(nn.Module):
    def __init__(self, speakers: int) -> None:
        super().__init__()
        sizes, layers = ((80, 128, 5, 2), (128, 128, 3, 1), (128, 128, 3, 1), (128, 384, 1, 1)), []
        for before, after, kernel, stride in sizes:
            layers += [nn.Conv1d(before, after, kernel, stride), nn.ReLU(), nn.BatchNorm1d(after)]
        self.layers = nn.Sequential(*layers)
        self.embedding = nn.Linear(768, 128)
        self.out = nn.Sequential(nn.ReLU(), nn.Linear(128, speakers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(x.transpose(1, 2))
        return self.embedding(torch.cat([x.mean(2), x.std(2)], 1))


class Data:
    """The corpus's log-mel, by segment, and its parts."""

    def __init__(self, corpus: augury.Corpus, part: np.ndarray) -> None:
        of_recording = mels(corpus)
        self.mel = [of_recording[r] for r in corpus.recording]
        self.train, self.test = (np.flatnonzero(part == one) for one in ("train", "test"))
        frames = torch.cat([self.mel[k] for k in self.train])
        self.mean, self.deviation = frames.mean(0), frames.std(0)

    def batch(self, chosen: np.ndarray) -> torch.Tensor:
        return padded([self.mel[k] for k in chosen], self.mean, self.deviation)


def trained(
    model: nn.Module,
    data: Data,
    loss_of: Callable[[torch.Tensor, np.ndarray], torch.Tensor],
    epochs: int,
) -> list[torch.Tensor]:
    """What comes out of the test segments, one by one."""
    rng, began = np.random.default_rng(0), time.monotonic()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        order = rng.permutation(data.train)
        for chosen in np.array_split(order, len(order) // CLIPS):
            loss = loss_of(model(data.batch(chosen)), chosen)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, {time.monotonic() - began:.0f} s of training: ", end="")
    model.eval()
    with torch.inference_mode():
        return [model(data.batch(np.array([k])))[0] for k in data.test]


def asr(folder: Path, epochs: int | None) -> None:
    corpus = join_rows(augury.read_corpus(folder / "phones.tsv"), "phone")
    silent = ("SIL", "+NSN+", "+SPN+")
    settings = AsrSettings.of("small", "asr", label="phone", exclude=silent)
    texts = [settings.tokens(one) for one in corpus.label("phone")]
    symbols = ["", *sorted(set().union(*texts))]
    targets = [torch.tensor([symbols.index(one) for one in text]) for text in texts]
    data = Data(corpus, assign_splits(corpus, settings, known_speakers=False))
    torch.manual_seed(0)

    def loss(log_probs: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        wanted = [targets[k] for k in chosen]
        return nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            nn.utils.rnn.pad_sequence(wanted, batch_first=True),
            torch.tensor([len(data.mel[k]) // 4 for k in chosen]),
            torch.tensor([len(one) for one in wanted]),
            zero_infinity=True,
        )

    found = trained(Recogniser(len(symbols)), data, loss, epochs or settings.epochs)
    best = [torch.unique_consecutive(one.argmax(-1)) for one in found]
    heard = [[symbols[s] for s in one.tolist() if s] for one in best]
    rate = transcripts.error_rate([list(texts[k]) for k in data.test], heard).rate
    print(f"PER {rate:.2%}")


def speaker(folder: Path, epochs: int | None) -> None:
    corpus = augury.read_corpus(folder / "utterances.tsv")
    settings = SpeakerSettings.of("small", "speaker")
    data = Data(corpus, assign_splits(corpus, settings, known_speakers=True))
    whose, test = corpus.label("speaker"), data.test
    names = sorted(set(whose[data.train]))
    torch.manual_seed(0)
    model = Embedder(len(names))

    def loss(embeddings: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        wanted = torch.tensor([names.index(whose[k]) for k in chosen])
        return nn.functional.cross_entropy(model.out(embeddings), wanted)

    found = trained(model, data, loss, epochs or settings.epochs)
    gender = corpus.label("gender")
    pairs = make_trials(test, whose[test], corpus.recording, gender, settings.made)
    x = nn.functional.normalize(torch.stack(found)).numpy()
    at = {k: row for row, k in enumerate(test.tolist())}
    one, other = ([at[k] for k in some.tolist()] for some in (pairs.enrol, pairs.test))
    scores, own = np.einsum("nd,nd->n", x[one], x[other]), pairs.is_target
    print(f"EER {metrics.eer(scores[own], scores[~own]).rate:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("task", choices=("asr", "speaker"))
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    {"asr": asr, "speaker": speaker}[given.task](given.data, given.epochs)


if __name__ == "__main__":
    main()
