# mypy: allow-untyped-decorators
"""Raster passes on the CPU: one compiled loop per slice, slices spread over threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Work arrays are padded to this multiple: with a constant block side the compiler turns a transposition into vector
# instructions, which makes it three times faster than a loop over blocks of any side.
_BLOCK = 8


def solve(images: torch.Tensor, seeds: torch.Tensor, passes: int | None) -> torch.Tensor:
    """Distances ``(B, H, W)`` for float32 ``images`` ``(B, C, H, W)`` and boolean ``seeds`` ``(B, H, W)``.

    Plain threads, not numba's own: they keep to ``torch.set_num_threads``, work after a fork (data-loader workers) and
    may be started from several threads at once, which numba's thread pools do not all allow.
    """
    pixels, sources = images.cpu().numpy(), seeds.cpu().numpy()
    distance = np.empty(sources.shape, dtype=np.float32)

    def run(index: int) -> None:
        _solve_slice(pixels[index], sources[index], 0 if passes is None else passes, distance[index])

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        list(pool.map(run, range(len(pixels))))
    return torch.from_numpy(distance).to(images.device)


@njit(nogil=True, cache=True)
def _solve_slice(
    image: NDArray[np.float32], seeds: NDArray[np.bool_], passes: int, result: NDArray[np.float32]
) -> None:
    height, width = seeds.shape
    # A left-right sweep is a top-down sweep of the transposed slice, where rows are contiguous.
    cost = _step_costs(image)
    cost_transposed = _step_costs(np.ascontiguousarray(image.transpose(0, 2, 1)))
    distance = np.full(cost.shape[1:], np.float32(np.inf))
    transposed = np.empty(cost_transposed.shape[1:], np.float32)
    for row in range(height):
        for column in range(width):
            if seeds[row, column]:
                distance[row + 1, column + 1] = 0
    done = 0
    while True:
        lowered = _sweep_down_up(distance, cost)
        _transpose(distance, transposed)
        lowered |= _sweep_down_up(transposed, cost_transposed)
        _transpose(transposed, distance)
        done += 1
        if done == passes or not lowered:
            break
    result[:] = distance[1 : height + 1, 1 : width + 1]


@njit(nogil=True, cache=True)
def _step_costs(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Costs ``[k, h, w]`` of the step to padded pixel ``(h, w)`` from ``(h - 1, w + k - 1)``; infinite outside."""
    channels, height, width = image.shape
    padded_height = (height + 1 + _BLOCK) // _BLOCK * _BLOCK
    padded_width = (width + 1 + _BLOCK) // _BLOCK * _BLOCK
    cost = np.full((3, padded_height, padded_width), np.float32(np.inf))
    for k in range(3):
        first, last = max(0, 1 - k), min(width, width + 1 - k)
        for row in range(1, height):
            target = cost[k, row + 1]
            target[first + 1 : last + 1] = 0
            for channel in range(channels):
                here, behind = image[channel, row], image[channel, row - 1]
                for column in range(first, last):
                    target[column + 1] += abs(here[column] - behind[column + k - 1])
    return cost


@njit(nogil=True, cache=True)
def _sweep_down_up(distance: NDArray[np.float32], cost: NDArray[np.float32]) -> bool:
    rows, end = distance.shape[0], distance.shape[1] - 1
    # Views along the last axis alone: numba then knows them contiguous, and the inner loop becomes vector instructions.
    left, straight, right = cost[0], cost[1], cost[2]
    lowered = False
    for row in range(1, rows):
        target, behind = distance[row, 1:end], distance[row - 1]
        lowered |= _relax(target, behind, left[row, 1:end], straight[row, 1:end], right[row, 1:end])
    for row in range(rows - 2, -1, -1):
        target, behind = distance[row, 1:end], distance[row + 1]
        # A step costs the same both ways: the one from below left is the `right` step of that neighbour.
        lowered |= _relax(target, behind, right[row + 1], straight[row + 1, 1:end], left[row + 1, 2:])
    return lowered


@njit(nogil=True, cache=True)
def _relax(
    target: NDArray[np.float32],
    behind: NDArray[np.float32],
    left: NDArray[np.float32],
    straight: NDArray[np.float32],
    right: NDArray[np.float32],
) -> bool:
    lowered = False
    for column in range(target.shape[0]):
        old = target[column]
        best = min(old, behind[column] + left[column])
        best = min(best, behind[column + 1] + straight[column])
        best = min(best, behind[column + 2] + right[column])
        target[column] = best
        lowered |= best < old
    return lowered


@njit(nogil=True, cache=True)
def _transpose(source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    for first_row in range(0, target.shape[0], _BLOCK):
        for first_column in range(0, target.shape[1], _BLOCK):
            for row in range(_BLOCK):
                for column in range(_BLOCK):
                    target[first_row + row, first_column + column] = source[first_column + column, first_row + row]
