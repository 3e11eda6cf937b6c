"""Where a check of ``gpu_check.py`` runs, and commands that it starts: time, memory of the GPU and of the host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

REPOSITORY = Path(__file__).parents[1]
MARGIN = 5  # seconds of a check's budget that are kept for its report
POLL = 0.1  # seconds


@dataclass(frozen=True)
class Machine:
    """Where a check runs and what it may take.

    Attributes:
        device: the GPU, or the CPU for a trial of the script.
        folder: for the files of the check.
        end: when the check is stopped, in seconds of ``time.monotonic``.
    """

    device: torch.device
    folder: Path
    end: float

    @property
    def full(self) -> bool:
        """Whether to run at the sizes of the papers: on a GPU. A CPU gets sizes that end within seconds."""
        return self.device.type == "cuda"

    @property
    def seconds(self) -> float:
        """What is left of the budget for a command."""
        return self.end - time.monotonic() - MARGIN


@dataclass(frozen=True)
class Finished:
    """A command that has ended or was stopped.

    Attributes:
        code: its exit status; None when it was stopped because its time was over.
        output: all it printed.
        seconds: wall-clock time.
        gpu_gib: how far the used memory of the GPU rose while it ran, in GiB; 0 without a GPU.
        host_gib: peak memory of its largest process, in GiB.
    """

    code: int | None
    output: str
    seconds: float
    gpu_gib: float
    host_gib: float

    @property
    def complaint(self) -> str:
        """Why it is no success, with the end of what it printed."""
        why = f"stopped after {self.seconds:.0f} s" if self.code is None else f"exit status {self.code}"
        return f"{why}: ... {self.output[-400:]}"


def run(arguments: list[str], machine: Machine, log: str) -> Finished:
    """Run ``python arguments`` at the root of the repository until it ends or the time of the check is over.

    The output goes to ``log`` in the folder of the check.
    """
    path = machine.folder / log
    start, gpu_before, gpu_peak = time.monotonic(), used_gpu_memory(machine.device), 0.0
    with path.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        limit = start + machine.seconds
        done, stopped = False, False
        while not done:
            time.sleep(POLL)
            gpu_peak = max(gpu_peak, used_gpu_memory(machine.device) - gpu_before)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            done = pid != 0
            if not done and not stopped and time.monotonic() > limit:
                os.kill(process.pid, 9)
                stopped = True
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    host_gib = usage.ru_maxrss / 2**20  # Linux counts in KiB
    code = None if stopped else process.returncode
    return Finished(code, path.read_text(errors="replace"), seconds, gpu_peak, host_gib)


def used_gpu_memory(device: torch.device) -> float:
    """Memory of the GPU that all processes use, in GiB; 0 without a GPU."""
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 2**30
