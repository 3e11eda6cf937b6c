"""Wall-clock times that the benchmarks of this folder share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall-clock time of one call, until the device has finished."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def median_seconds(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall-clock time of a call after one warm-up call."""
    function()
    return statistics.median(seconds(function, device) for _ in range(repeats))


def interleaved_seconds(
    functions: Mapping[Name, Callable[[], object]], device: torch.device, repeats: Mapping[Name, int]
) -> dict[Name, list[float]]:
    """Times of several functions called in turn, so that a drift of the machine hits all of them alike.

    Args:
        functions: name to function; each has been called once before, to warm up.
        device: where they run.
        repeats: name to number of calls; one with fewer drops out of the later rounds.

    Returns:
        Name to the time of each call.
    """
    times: dict[Name, list[float]] = {name: [] for name in functions}
    for repeat in range(max(repeats.values(), default=0)):
        for name, function in functions.items():
            if repeat < repeats[name]:
                times[name].append(seconds(function, device))
    return times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
