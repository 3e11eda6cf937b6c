"""Slices with structure for the tests of the dense CRF."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def structured_slices(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0, 1] of smooth blobs, edges and noise, and a probability that follows them loosely."""
    batch, channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)

    def blobs(cells: int, layers: int) -> torch.Tensor:
        coarse = torch.rand(batch, layers, cells, cells, generator=generator)
        return interpolate(coarse, size=(height, width), mode="bilinear")

    shared = blobs(5, 1)
    images = 0.4 * (shared > 0.5) + 0.3 * blobs(9, channels) + 0.2 * torch.rand(shape, generator=generator)
    noise = torch.rand(batch, 1, height, width, generator=generator)
    return images.clamp(0, 1), (0.6 * shared + 0.2 * blobs(4, 1) + 0.2 * noise).clamp(0, 1)


def agreement(first: torch.Tensor, second: torch.Tensor) -> float:
    """Fraction of the pixels whose labels agree, for marginals ``(B, 2, H, W)``."""
    return (first.argmax(1) == second.argmax(1)).float().mean().item()
