"""A thin section of tissue: how much of each dye every pixel holds, and cells scattered over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from camtools.data.phantoms._scene import paint, smooth_noise
from camtools.data.phantoms.phantom import FloatArray

_LARGEST_CELL = 5
# Amounts of both dyes where there is no tissue.
EMPTY = (0.02, 0.04)


@dataclass(frozen=True)
class Tissue:
    """The section being painted.

    Attributes:
        haematoxylin: amount of the dye of nuclei, 0 (none) to about 1.3, ``(rows, columns)``; painted in place.
        eosin: amount of the dye of cytoplasm and fibres, like ``haematoxylin``.
        glands: instance mask, ``(rows, columns)``: 0 in the stroma and 1..n in the glands.
        depth: distance to the nearest outline in pixels, ``(rows, columns)``: positive in glands, negative outside.
    """

    haematoxylin: FloatArray
    eosin: FloatArray
    glands: NDArray[np.uint8]
    depth: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.depth.shape
        return rows, columns


def empty_tissue(glands: NDArray[np.uint8]) -> Tissue:
    """Build a section without dye around the glands of an instance mask, ``(rows, columns)``, which may touch."""
    touching = (ndimage.maximum_filter(glands, 3) > glands) & (glands > 0)
    depth = ndimage.distance_transform_edt((glands > 0) & ~touching) - ndimage.distance_transform_edt(glands == 0)
    smooth = ndimage.gaussian_filter(depth.astype(np.float32), 0.7)
    return Tissue(np.zeros(glands.shape, np.float32), np.zeros(glands.shape, np.float32), glands, smooth)


def dye(tissue: Tissue, weight: FloatArray, haematoxylin: float | FloatArray, eosin: float | FloatArray) -> None:
    """Blend amounts of both dyes into the section in place, by a weight from 0 (keep) to 1 (replace)."""
    paint(tissue.haematoxylin, weight, haematoxylin)
    paint(tissue.eosin, weight, eosin)


def scatter(rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> FloatArray:
    """Draw points about ``spacing`` pixels apart, one in every cell of a grid: row and column, ``(N, 2)``."""
    counts = [int(np.ceil(size / spacing)) for size in shape]
    corners = np.indices(counts).reshape(2, -1).T
    points = (corners + rng.random(corners.shape)) * spacing
    within: FloatArray = points[(points <= np.array(shape) - 1).all(axis=1)]
    return within


def at(field: NDArray[Any], points: FloatArray) -> NDArray[Any]:
    """Values of a ``(rows, columns)`` field at points ``(N, 2)``, ``(N,)``."""
    rows, columns = np.rint(points).astype(np.intp).T
    values: NDArray[Any] = field[rows, columns]
    return values


def direction(field: FloatArray) -> FloatArray:
    """Angle of the steepest ascent of a ``(rows, columns)`` field in radians: 0 along columns, pi / 2 along rows."""
    down, right = np.gradient(ndimage.gaussian_filter(field, 1.5))
    angle: FloatArray = np.arctan2(down, right)
    return angle


def cells(shape: tuple[int, int], points: FloatArray, radii: FloatArray, angle: FloatArray) -> FloatArray:
    """Weight of small ellipses with soft edges: nuclei, vacuoles.

    Args:
        shape: rows and columns.
        points: centres, row and column in pixels, ``(N, 2)``.
        radii: semi-axes in pixels, at most 4, ``(N, 2)``.
        angle: direction of the first semi-axis in radians, 0 along columns, ``(N,)``.

    Returns:
        Weight from 0 (none) to 1 (in an ellipse), ``(rows, columns)``; the larger one counts where two overlap.
    """
    reach = np.arange(-_LARGEST_CELL, _LARGEST_CELL + 1)
    rows, columns = (axis.ravel() for axis in np.meshgrid(reach, reach, indexing="ij"))
    centre = np.rint(points).astype(np.intp)
    row, column = centre[:, :1] + rows, centre[:, 1:] + columns
    down, right = row - points[:, :1], column - points[:, 1:]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along, across = cos * right + sin * down, cos * down - sin * right
    ratio = np.hypot(along / radii[:, :1], across / radii[:, 1:])
    weight = np.clip((1 - ratio) * radii.min(axis=1, keepdims=True) + 0.5, 0, 1).astype(np.float32)
    shown = (weight > 0) & (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    field = np.zeros(shape, np.float32)
    np.maximum.at(field, (row[shown], column[shown]), weight[shown])
    return field


def dye_nuclei(tissue: Tissue, weight: FloatArray, rng: np.random.Generator) -> None:
    """Dye nuclei of a weight, see :func:`cells`: as dark in glands as in the stroma, with a grain of chromatin."""
    chromatin = rng.uniform(0.9, 1.15) * (1 + 0.15 * smooth_noise(rng, tissue.shape, (2, 2)))
    dye(tissue, weight * np.float32(rng.uniform(0.75, 0.95)), chromatin, 0.45)
