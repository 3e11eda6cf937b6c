"""Where the glands of a photograph lie: bent outlines, some touching, some cut by the border, beside a clearing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from camtools.data.phantoms._scene import smooth_noise
from camtools.data.phantoms.phantom import FloatArray

# An instance with fewer pixels, such as the tip of a gland at the border, is left out.
LEAST_PIXELS = 60
_SPINE_DISCS = 9
_ATTEMPTS = 90
# Half the diagonal of a patch of side 48, which is thus free of glands somewhere in every photograph.
_CLEARING_RADIUS = 34.0
_DEEPEST_OVERLAP = 3.5
_SMALLEST, _LARGEST = 14.0, 34.0


@dataclass(frozen=True)
class Outline:
    """An object as a union of discs along a bent line.

    Attributes:
        centre: row and column of every disc in pixels, ``(K, 2)``.
        radius: radius of every disc in pixels, ``(K,)``.
    """

    centre: FloatArray
    radius: FloatArray


@dataclass(frozen=True)
class Habit:
    """What the glands of one photograph have in common.

    Attributes:
        radius: usual radius in pixels.
        stretch: half the length of the bent line, in radii: 0 for round glands.
        heading: usual direction of the line in radians.
        crowding: probability that a gland touches its neighbour.
    """

    radius: float
    stretch: float
    heading: float
    crowding: float


def random_glands(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw the instance mask of a photograph.

    Args:
        rng: random generator.
        shape: rows and columns.

    Returns:
        Mask ``(rows, columns)``: 0 between the glands and 1..n in them, each number one connected component.
    """
    habit = Habit(rng.uniform(15, 31), rng.uniform(0, 1.7), rng.uniform(0, np.pi), rng.uniform(0.1, 0.6))
    clearing = Outline(rng.uniform(24, np.array(shape) - 24)[None], np.array([_CLEARING_RADIUS]))
    grid = _bent_grid(rng, shape)
    target = rng.uniform(0.28, 0.62)
    placed: list[Outline] = []
    nearest = np.zeros(shape, np.float32)  # 0, not infinity: only what is inside a gland counts
    labels = np.zeros(shape, np.intp)
    for _ in range(_ATTEMPTS):
        outline = _settled(_random_outline(rng, shape, habit), placed, habit, rng)
        if _gap(outline, clearing)[0] < 0 or any(_gap(outline, other)[0] < -_DEEPEST_OVERLAP for other in placed):
            continue
        placed.append(outline)
        distance = _distance(outline, grid)
        labels[distance < nearest] = len(placed)
        np.minimum(nearest, distance, out=nearest)
        if (labels > 0).mean() > target:
            break
    return _connected(labels)


def _bent_grid(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Row and column of every pixel, bent by about 2 pixels so that no outline keeps the arcs of its discs."""
    rows, columns = np.indices(shape, dtype=np.float32)
    bent = (
        axis + 1.6 * smooth_noise(rng, shape, (17, 17)) + 0.5 * smooth_noise(rng, shape, (6, 6))
        for axis in (rows, columns)
    )
    return next(bent), next(bent)


def _random_outline(rng: np.random.Generator, shape: tuple[int, int], habit: Habit) -> Outline:
    """Draw a gland of 30 to 70 pixels across anywhere in the photograph or across its border."""
    radius = float(np.clip(habit.radius * rng.uniform(0.75, 1.3), _SMALLEST, _LARGEST))
    half = min(habit.stretch * rng.uniform(0.2, 1.2), 62 / radius) * radius
    heading = habit.heading + rng.normal(0, 0.45) + rng.normal(0, 0.5) * np.linspace(-1, 1, _SPINE_DISCS)
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (2 * half / (_SPINE_DISCS - 1))
    spine = np.cumsum(steps, axis=0)
    middle = rng.uniform(-0.4 * radius, np.array(shape) + 0.4 * radius)
    taper = 1 + rng.uniform(-0.14, 0.14) * np.linspace(-1, 1, _SPINE_DISCS)
    return Outline(spine - spine.mean(axis=0) + middle, radius * taper)


def _gap(first: Outline, second: Outline) -> tuple[float, FloatArray]:
    """Smallest distance in pixels between two outlines, negative where they overlap, and its direction to the first."""
    step = first.centre[:, None] - second.centre
    length = np.hypot(step[..., 0], step[..., 1])
    gap = length - first.radius[:, None] - second.radius
    at = np.unravel_index(gap.argmin(), gap.shape)
    return float(gap[at]), step[at] / max(float(length[at]), 1e-6)


def _settled(outline: Outline, placed: list[Outline], habit: Habit, rng: np.random.Generator) -> Outline:
    """Move a gland towards or away from its nearest neighbour, until they touch or a strip of stroma is left."""
    strip = -2.5 if rng.random() < habit.crowding else rng.uniform(2.0, 9.0)
    if not placed:
        return outline
    gap, direction = min((_gap(outline, other) for other in placed), key=lambda found: found[0])
    return Outline(outline.centre + np.clip(strip - gap, -25, 25) * direction, outline.radius)


def _distance(outline: Outline, grid: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Signed distance in pixels to an outline, negative inside."""
    rows, columns = grid
    distance = np.full(rows.shape, np.inf, np.float32)
    for (row, column), radius in zip(outline.centre.astype(np.float32), outline.radius.astype(np.float32), strict=True):
        np.minimum(distance, np.hypot(rows - row, columns - column) - radius, out=distance)
    return distance


def _connected(labels: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Keep the largest component of every instance that is large enough, and number them 1..n."""
    mask = np.zeros(labels.shape, np.uint8)
    for instance in range(1, int(labels.max()) + 1):
        parts, count = ndimage.label(labels == instance)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        if count and sizes.max() >= LEAST_PIXELS:
            mask[parts == sizes.argmax() + 1] = mask.max() + 1
    return mask
