"""Fusion of activation maps from the equations, pixel by pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reference_normalize_max(maps: Tensor) -> Tensor:
    """(B, L, H, W): each map divided by its maximum; zeros stay zeros."""
    result = torch.zeros_like(maps)
    for b in range(maps.shape[0]):
        for m in range(maps.shape[1]):
            peak = max(float(v) for v in maps[b, m].flatten())
            if peak > 0:
                result[b, m] = maps[b, m] / peak
    return result


def reference_uncertainty_weighted_mean(maps: Tensor, weighting: str) -> Tensor:
    """UM-CAM, eq. 3-4: (B, L, H, W) in [0, 1] -> (B, 1, H, W)."""
    batch, layers, height, width = maps.shape
    result = torch.zeros(batch, 1, height, width, dtype=maps.dtype)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                numerator = denominator = 0.0
                for m in range(layers):
                    foreground = float(maps[b, m, i, j])
                    entropy = 0.0
                    for probability in (1.0 - foreground, foreground):
                        if probability > 0:
                            entropy -= probability * math.log(probability)
                    weight = 1.0 - entropy if weighting == "linear" else math.exp(-entropy)
                    numerator += weight * foreground
                    denominator += weight
                result[b, 0, i, j] = numerator / denominator
    return result
