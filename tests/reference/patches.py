"""Class maps from overlapping patches, pixel by pixel (OEEM, section 2.1)."""

from __future__ import annotations

import math

import numpy as np


def first_pixels(length: int, size: int, stride: int) -> list[int]:
    """Starts of patches along one side: every stride, and one that ends at the edge."""
    starts, start = [], 0
    while start + size < length:
        starts.append(start)
        start += stride
    return [*starts, max(length - size, 0)]


def stitched(scores: np.ndarray, present: np.ndarray, height: int, width: int, size: int, stride: int) -> np.ndarray:
    """Mean over the patches that cover a pixel of the softmax over their present classes.

    scores: (N, K, size, size), present: (N, K); returns (K, height, width).
    """
    corners = [(y, x) for y in first_pixels(height, size, stride) for x in first_pixels(width, size, stride)]
    classes = scores.shape[1]
    result = np.zeros((classes, height, width))
    for row in range(height):
        for column in range(width):
            covering = 0
            for patch, (y, x) in enumerate(corners):
                if not (y <= row < y + size and x <= column < x + size):
                    continue
                covering += 1
                at = scores[patch, :, row - y, column - x]
                weight = [math.exp(at[k]) if present[patch, k] else 0.0 for k in range(classes)]
                for k in range(classes):
                    result[k, row, column] += weight[k] / sum(weight)
            result[:, row, column] /= covering
    return result
