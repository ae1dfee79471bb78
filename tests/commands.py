"""`augury` in processes of its own that start at once: forked from one that has imported it.

Importing torch, and torch._dynamo with the first optimiser, takes four seconds of computing, and
tests that kill a run and start it again would spend most of their time there.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from augury.cli.app import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.distributed",
        "augury.cli.app",
        "augury.pretraining.pretrain",
        "augury.downstream.evaluate",
        "augury.ranking.report",
        "augury.validation.validate",
    ]
)


class Command:
    """`augury WORDS`, running, in this folder and environment; it leads a process group."""

    def __init__(self, words: Sequence[object], output: Path | None = None, **environment: str):
        output = Path(os.devnull) if output is None else output
        given = (list(map(str, words)), os.getcwd(), os.environ | environment, output)
        self.process = _FORKS.Process(target=_run, args=given)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def ended(self) -> bool:
        return self.process.exitcode is not None

    def wait(self, seconds: float = 300) -> int:
        """The exit code; of a signal, less than 0."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"augury ran for more than {seconds} s")
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def run(words: Sequence[object], output: Path | None = None, **environment: str) -> int:
    """The exit code of `augury WORDS`."""
    return Command(words, output, **environment).wait()


def start_together(words: Sequence[object], output: Path) -> tuple[Command, Command]:
    """`augury WORDS` in two processes that train together, told so as torchrun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    first, second = (
        Command(
            words, of_rank(output, int(rank)), RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
        )
        for rank in ("0", "1")
    )  # fmt: skip
    return first, second


def of_rank(output: Path, rank: int) -> Path:
    """Where `start_together` writes what one of the processes prints."""
    return output.with_suffix(f".{rank}")


def _run(words: list[str], folder: str, environment: dict[str, str], output: Path) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["augury", *words]
    main()
