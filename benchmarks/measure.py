"""What the benchmarks share: the machine's name, memory and time of processes."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil


def machine() -> str:
    """Date, processor, cores and versions, in one line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    cores = len(os.sched_getaffinity(0))
    return f"{date.today()}, {model}, {cores} cores, Python {platform.python_version()}"


def peak_memory() -> float:
    """This process's largest resident size so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def current_memory() -> float:
    """This process's resident size now, GB."""
    return psutil.Process().memory_info().rss / 1e9


@dataclass(frozen=True)
class Run:
    """What a command took."""

    status: int
    wall: float  # seconds
    cpu: float  # seconds of all its processes
    memory: float  # GB, largest sum over its processes, shared pages counted once
    output: str


def run(command: list[str]) -> Run:
    """Run a command to its end and measure it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    peak = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], _proportional_size(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    wall = time.perf_counter() - began
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(process.returncode, wall, cpu, peak[0], output)


def _proportional_size(session: int) -> float:
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, ValueError):
            continue  # it ended meanwhile
    return total / 1e6
