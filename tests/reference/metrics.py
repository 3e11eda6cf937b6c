"""Dice, IoU and HD95 by counting pixels one at a time and comparing every pair of outline pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixel = tuple[int, ...]
Mask = NDArray[np.bool_]


def foreground(mask: Mask) -> set[Pixel]:
    """Coordinates of the pixels that are on."""
    return {pixel for pixel in itertools.product(*map(range, mask.shape)) if mask[pixel]}


def dice(prediction: Mask, truth: Mask) -> float:
    """``2 |P and T| / (|P| + |T|)``, 1 when both are empty."""
    a, b = foreground(prediction), foreground(truth)
    return 1.0 if not a and not b else 2 * len(a & b) / (len(a) + len(b))


def iou(prediction: Mask, truth: Mask) -> float:
    """``|P and T| / |P or T|``, 1 when both are empty."""
    a, b = foreground(prediction), foreground(truth)
    return 1.0 if not a and not b else len(a & b) / len(a | b)


def outline(mask: Mask) -> set[Pixel]:
    """Pixels that are on and have a neighbour across a side (a face in 3D) that is off or outside the image."""
    pixels = foreground(mask)
    return {p for p in pixels if any(neighbour not in pixels for neighbour in _neighbours(p))}


def hd95(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> float:
    """The larger of the two 95th percentiles of the distance from one outline to the other, in units of spacing."""
    a, b = outline(prediction), outline(truth)
    if not a and not b:
        return 0.0
    if not a or not b:
        return math.sqrt(sum((n * step) ** 2 for n, step in zip(truth.shape, spacing, strict=True)))
    return max(_directed(a, b, spacing), _directed(b, a, spacing))


def _neighbours(pixel: Pixel) -> list[Pixel]:
    return [(*pixel[:axis], pixel[axis] + step, *pixel[axis + 1 :]) for axis in range(len(pixel)) for step in (-1, 1)]


def _directed(start: set[Pixel], end: set[Pixel], spacing: Sequence[float]) -> float:
    distances = sorted(min(_distance(p, q, spacing) for q in end) for p in start)
    position = 0.95 * (len(distances) - 1)
    low = math.floor(position)
    high = min(low + 1, len(distances) - 1)
    return distances[low] + (position - low) * (distances[high] - distances[low])


def _distance(p: Pixel, q: Pixel, spacing: Sequence[float]) -> float:
    return math.sqrt(sum(((i - j) * step) ** 2 for i, j, step in zip(p, q, spacing, strict=True)))
