"""Object scores of the GlaS challenge by comparing every pair of objects, as sets of pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Object = set[tuple[int, int]]


def objects(numbers: Numbers) -> list[Object]:
    """Pixels of every object, in the order of their numbers."""
    pixels = list(itertools.product(*map(range, numbers.shape)))
    found = sorted({int(numbers[pixel]) for pixel in pixels} - {0})
    return [{pixel for pixel in pixels if numbers[pixel] == number} for number in found]


def dice(a: Object, b: Object) -> float:
    """``2 |A and B| / (|A| + |B|)``."""
    return 2 * len(a & b) / (len(a) + len(b))


def most_overlapping(one: Object, others: list[Object]) -> Object:
    """The object that shares most pixels with ``one``; empty where none shares any."""
    best: Object = set()
    for other in others:
        if len(one & other) > len(one & best):
            best = other
    return best


def detection(pairs: Sequence[tuple[Numbers, Numbers]]) -> tuple[int, int, int]:
    """True positives, false positives, false negatives of all ``(prediction, truth)`` pairs together."""
    hits = wrong = missed = 0
    for prediction, truth in pairs:
        true = objects(truth)
        found = []
        for one in objects(prediction):
            partner = most_overlapping(one, true)
            if partner and len(one & partner) >= 0.5 * len(partner):
                hits += 1
                found.append(partner)
            else:
                wrong += 1
        missed += sum(one not in found for one in true)
    return hits, wrong, missed


def object_dice(pairs: Sequence[tuple[Numbers, Numbers]]) -> float:
    """Mean of the two area-weighted sums of Dice, with areas as shares of all images together."""
    segmented = [(one, objects(truth)) for prediction, truth in pairs for one in objects(prediction)]
    true = [(one, objects(prediction)) for prediction, truth in pairs for one in objects(truth)]
    if not segmented and not true:
        return 1.0
    return (_weighted(segmented) + _weighted(true)) / 2


def components(mask: NDArray[np.bool_], corners: bool) -> set[frozenset[tuple[int, int]]]:
    """Connected components of one image, grown pixel by pixel."""
    left = {pixel for pixel in itertools.product(*map(range, mask.shape)) if mask[pixel]}
    found = set()
    while left:
        grown, border = set(), [next(iter(left))]
        while border:
            pixel = border.pop()
            if pixel not in left:
                continue
            left.remove(pixel)
            grown.add(pixel)
            steps = itertools.product((-1, 0, 1), repeat=2)
            border += [(pixel[0] + i, pixel[1] + j) for i, j in steps if corners or abs(i) + abs(j) == 1]
        found.add(frozenset(grown))
    return found


def _weighted(against: Sequence[tuple[Object, list[Object]]]) -> float:
    total = sum(len(one) for one, _ in against)
    return sum(len(one) / total * dice(one, most_overlapping(one, others)) for one, others in against)
