"""Labels of a round of self-training, voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def reference_average_across_slices(
    values: NDArray[np.float64], image: NDArray[np.float64], strength: float, sigma: float
) -> NDArray[np.float64]:
    """values (K, X, Y, Z), image (C, X, Y, Z)."""
    result = np.zeros_like(values)
    channels, width, height, slices = image.shape
    variance = sum(image[c].var() for c in range(channels)) / channels
    for x in range(width):
        for y in range(height):
            for z in range(slices):
                total, norm = values[:, x, y, z].copy(), 1.0
                for n in (z - 1, z + 1):
                    if not 0 <= n < slices:
                        continue
                    squared = sum((image[c, x, y, z] - image[c, x, y, n]) ** 2 for c in range(channels)) / channels
                    weight = strength * math.exp(-squared / (2 * sigma**2 * variance))
                    total += weight * values[:, x, y, n]
                    norm += weight
                result[:, x, y, z] = total / norm
    return result


def reference_labels(
    shares: NDArray[np.float64], previous: NDArray[np.float64], tags: list[int], band: float | None
) -> NDArray[np.uint8]:
    """shares (X, Y, Z), previous labels alike; 255 for ignored pixels."""
    result = np.zeros(shares.shape, np.uint8)
    width, height, slices = shares.shape
    for z in range(slices):
        if tags[z] == 0:
            continue
        pixels = [(x, y) for x in range(width) for y in range(height)]
        empty = not any(shares[x, y, z] > 0.5 for x, y in pixels)
        for x, y in pixels:
            share = shares[x, y, z]
            if empty:
                share = 0.5 if previous[x, y, z] == 255 else previous[x, y, z]
            if band is not None and abs(share - 0.5) <= band:
                result[x, y, z] = 255
            elif share > 0.5:
                result[x, y, z] = 1
    return result
