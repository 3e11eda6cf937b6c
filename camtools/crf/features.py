"""Where pixels lie for the two kernels of the dense CRF: position, and position with intensity."""

from __future__ import annotations

import math

import torch

_GREY_LEVELS = 255
_COLOURS = 3


def position_features(height: int, width: int, sxy: float, device: torch.device) -> torch.Tensor:
    """Column and row of every pixel in standard deviations of ``sxy`` pixels, ``(2, H W)``."""
    columns = torch.arange(width, device=device, dtype=torch.float32)
    rows = torch.arange(height, device=device, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
    return grid.flatten(1) / sxy


def appearance_features(images: torch.Tensor, sxy: float, srgb: float) -> torch.Tensor:
    """Column, row and intensity of every pixel of ``(B, C, H, W)`` in standard deviations, ``(2 + C, B H W)``.

    The squared difference of two pixels is the mean over the channels, times three: with three channels the sum over
    the colours, and n equal channels count as one grey image.
    """
    batch, channels, height, width = images.shape
    position = position_features(height, width, sxy, images.device)
    deviation = srgb / math.sqrt(_COLOURS / channels)
    colour = images.movedim(1, 0).flatten(1) * (_GREY_LEVELS / deviation)
    return torch.cat([position.repeat(1, batch), colour])
