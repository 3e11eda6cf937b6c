"""Interpolation within slices. Values of different slices (the last axis) are never mixed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Mode", "sample_in_plane"]

Mode = Literal["bilinear", "smooth", "nearest"]


def sample_in_plane(volume: Tensor, steps: tuple[float, float], size: tuple[int, int], mode: Mode) -> Tensor:
    """Resample every slice to a new pixel grid, with the same centre of the first pixel.

    Pixel ``(i, j)`` of the result is the value at ``(i * steps[0], j * steps[1])``, in pixels of the input. Beyond the
    last pixel of the input, its value is repeated.

    Args:
        volume: ``(C, X, Y, Z)`` float.
        steps: distance between new pixels, in pixels of the input, along the two in-plane axes.
        size: number of new pixels along the two in-plane axes.
        mode: ``"bilinear"``; ``"smooth"``, the same for finer grids, but for coarser ones a mean over the pixels within
            one new pixel to each side, with weights that fall linearly, so that noise is averaged and fine texture does
            not turn into false structures (aliasing); or ``"nearest"``.

    Returns:
        ``(C, *size, Z)``; the volume itself, not a copy, where every new pixel is an old one.

    Example:
        >>> sample_in_plane(torch.tensor([0.0, 4.0]).view(1, 2, 1, 1), (0.25, 1.0), (5, 1), "bilinear").flatten()
        tensor([0., 1., 2., 3., 4.])
    """
    for axis, (step, count) in enumerate(zip(steps, size, strict=True), start=1):
        last = volume.shape[axis] - 1
        if step == 1 and count == last + 1:  # every new pixel is an old one
            continue
        if mode == "smooth" and step > 1:
            volume = _averaged(volume, axis, step, count)
            continue
        place = (torch.arange(count, dtype=torch.float64, device=volume.device) * step).clamp(max=last)
        # With two equally near pixels, the rounding error of the spacing must not decide between them.
        halves = (2 * place).round() / 2
        place = torch.where((place - halves).abs() < 1e-4, halves, place)
        if mode == "nearest":
            volume = volume.index_select(axis, place.round().long())
            continue
        low = place.floor().long()
        shape = [-1 if index == axis else 1 for index in range(volume.ndim)]
        weight = (place - low).to(volume.dtype).view(shape)
        above = volume.index_select(axis, (low + 1).clamp(max=last))
        volume = torch.lerp(volume.index_select(axis, low), above, weight)
    return volume


def _averaged(volume: Tensor, axis: int, step: float, count: int) -> Tensor:
    """Weighted means along one axis, with a triangle of half-width ``step`` around every new pixel."""
    pixels = torch.arange(volume.shape[axis], dtype=torch.float64, device=volume.device)
    places = (torch.arange(count, dtype=torch.float64, device=volume.device) * step).clamp(max=volume.shape[axis] - 1)
    weights = (1 - (places[:, None] - pixels).abs() / step).clamp(min=0)
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(volume.dtype)
    return (volume.movedim(axis, -1) @ weights.T).movedim(-1, axis)
