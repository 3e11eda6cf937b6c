"""Where pixels lie for the two kernels of the dense CRF: position, and position with intensity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

_GREY_LEVELS = 255
_COLOURS = 3


@dataclass(frozen=True)
class Kernels:
    """Widths and weights of the Gaussian (smoothness) and the bilateral (appearance) kernel."""

    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float

    def gaussian_features(self, height: int, width: int, device: torch.device) -> torch.Tensor:
        """Column and row of every pixel in standard deviations, ``(2, H W)``."""
        rows, columns = (torch.arange(size, device=device, dtype=torch.float32) for size in (height, width))
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        return grid.flatten(1) / self.gaussian_sxy

    def bilateral_features(self, images: torch.Tensor) -> torch.Tensor:
        """Column, row and intensity of every pixel of ``(B, C, H, W)`` in standard deviations, ``(2 + C, B H W)``.

        One channel stands for three equal ones, whose squared difference is three times as large.
        """
        batch, channels, height, width = images.shape
        position = self.gaussian_features(height, width, images.device) * (self.gaussian_sxy / self.bilateral_sxy)
        deviation = self.bilateral_srgb / (math.sqrt(_COLOURS) if channels == 1 else 1)
        colour = images.movedim(1, 0).flatten(1) * (_GREY_LEVELS / deviation)
        return torch.cat([position.repeat(1, batch), colour])
