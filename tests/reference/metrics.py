"""Overlap by counting pixels one at a time, HD95 by comparing every pair of outline pixels."""

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


def pooled(pairs: Sequence[tuple[Mask, Mask]]) -> dict[str, float]:
    """Precision, recall, F1 and IoU of the pixels of all ``(prediction, truth)`` pairs together.

    Where nothing was predicted and there is nothing to predict all are 1; where exactly one is missing all are 0.
    """
    predicted = {(number, pixel) for number, (mask, _) in enumerate(pairs) for pixel in foreground(mask)}
    true = {(number, pixel) for number, (_, mask) in enumerate(pairs) for pixel in foreground(mask)}
    if not predicted or not true:
        return dict.fromkeys(("precision", "recall", "f1", "iou"), float(not predicted and not true))
    hits = sum(pixel in true for pixel in predicted)
    precision, recall = hits / len(predicted), hits / len(true)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "iou": hits / len(predicted | true)}


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
