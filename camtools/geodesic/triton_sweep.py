# mypy: allow-untyped-decorators, allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
"""Raster sweep on a CUDA device: one program per slice, all slices of a volume at once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def sweep_down_up(images: torch.Tensor, distance: torch.Tensor) -> None:
    """Lower contiguous float32 ``distance`` ``(B, H, W)`` in place: one sweep down and one up of ``images``."""
    batch, channels, height, width = images.shape
    block = triton.next_power_of_2(width)
    warps = max(1, min(16, block // 64))
    with torch.cuda.device_of(images):
        # One pipeline stage: a load moved ahead of the barrier would read a row before it is finished.
        _sweep[(batch,)](images, distance, channels, height, width, BLOCK=block, num_warps=warps, num_stages=1)


@triton.jit
def _sweep(images, distance, channels, height, width, BLOCK: tl.constexpr):
    plane = height * width
    image = images + tl.program_id(0).to(tl.int64) * channels * plane
    target = distance + tl.program_id(0).to(tl.int64) * plane
    for row in range(1, height):
        _relax(image, target, row, row - 1, channels, plane, width, BLOCK)
    for step in range(1, height):
        _relax(image, target, height - 1 - step, height - step, channels, plane, width, BLOCK)


@triton.jit
def _relax(image, distance, row, behind, channels, plane, width, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < width
    best = tl.load(distance + row * width + column, mask=inside, other=float("inf"))
    for offset in tl.static_range(-1, 2):
        neighbour = column + offset
        valid = inside & (neighbour >= 0) & (neighbour < width)
        cost = tl.full((BLOCK,), 0.0, tl.float32)
        for channel in range(channels):
            here = tl.load(image + channel * plane + row * width + column, mask=inside, other=0.0)
            there = tl.load(image + channel * plane + behind * width + neighbour, mask=valid, other=0.0)
            cost += tl.abs(here - there)
        reach = tl.load(distance + behind * width + neighbour, mask=valid, other=float("inf"))
        best = tl.minimum(best, reach + cost)
    tl.store(distance + row * width + column, best, mask=inside)
    # The next row reads what other threads of this program have just written.
    tl.debug_barrier()
