"""How the planes of a volume lie on the screen: which axis runs where, and the letters at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from camtools.data.geometry import PLANES, anatomical_axes, voxel_spacing

__all__ = ["Plane", "photograph_plane", "planes_of"]

POSITIVE, NEGATIVE = "RAS", "LPI"


@dataclass(frozen=True)
class Plane:
    """One plane of a volume ``(Z, rows, columns)``, as it is drawn.

    Clinical convention: the patient's right is on the left of the screen, anterior or superior is up, and in sagittal
    planes anterior is on the left.

    Attributes:
        axis: of the volume, across the plane.
        name: ``axial``, ``coronal``, ``sagittal``; ``picture`` where there are no patient axes.
        count: number of planes along the axis.
        vertical: axis that runs down the screen.
        horizontal: axis that runs to the right of the screen.
        flip_vertical: whether its index falls on the way down.
        flip_horizontal: whether its index falls on the way to the right.
        size: height and width in voxels.
        spacing: of the rows and columns, in mm.
        distance: from one plane to the next, in mm.
        letters: at the top, right, bottom and left edge.
    """

    axis: int
    name: str
    count: int
    vertical: int
    horizontal: int
    flip_vertical: bool
    flip_horizontal: bool
    size: tuple[int, int]
    spacing: tuple[float, float]
    distance: float
    letters: tuple[str, str, str, str]

    def cut(self, voxels: NDArray[Any], index: int) -> NDArray[Any]:
        """Plane ``index`` of a volume as rows and columns of the screen (a view)."""
        picture = voxels[(slice(None),) * self.axis + (index,)]
        if self.vertical > self.horizontal:
            picture = picture.swapaxes(0, 1)
        if self.flip_vertical:
            picture = picture[::-1]
        return picture[:, ::-1] if self.flip_horizontal else picture


def planes_of(affine: NDArray[Any], shape: Sequence[int]) -> tuple[Plane, Plane, Plane]:
    """The planes across each axis of a volume.

    Args:
        affine: ``(4, 4)`` in RAS, mm.
        shape: of its three axes.

    Example:
        >>> import numpy as np
        >>> first, *_ = planes_of(np.diag([5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], (9, 64, 48))
        >>> first.name, first.size, first.letters, first.flip_vertical, first.flip_horizontal
        ('axial', (64, 48), ('A', 'L', 'P', 'R'), True, True)
    """
    world = anatomical_axes(affine)
    spacing = voxel_spacing(affine)
    falls = [bool(affine[world[axis], axis] < 0) for axis in range(3)]
    return tuple(_plane(axis, world, spacing, falls, shape) for axis in range(3))  # type: ignore[return-value]


def _plane(
    axis: int, world: Sequence[int], spacing: NDArray[Any], falls: Sequence[bool], shape: Sequence[int]
) -> Plane:
    horizontal, vertical = sorted((other for other in range(3) if other != axis), key=lambda other: world[other])
    right, down = NEGATIVE[world[horizontal]], NEGATIVE[world[vertical]]
    return Plane(
        axis=axis,
        name=PLANES[world[axis]],
        count=int(shape[axis]),
        vertical=vertical,
        horizontal=horizontal,
        flip_vertical=not falls[vertical],
        flip_horizontal=not falls[horizontal],
        size=(int(shape[vertical]), int(shape[horizontal])),
        spacing=(float(spacing[vertical]), float(spacing[horizontal])),
        distance=float(spacing[axis]),
        letters=(POSITIVE[world[vertical]], right, down, POSITIVE[world[horizontal]]),
    )


def photograph_plane(shape: Sequence[int], spacing: Sequence[float] = (1.0, 1.0)) -> Plane:
    """The one plane of a picture ``(1, rows, columns)``, which has no patient axes."""
    return Plane(0, "picture", 1, 1, 2, False, False, (shape[1], shape[2]), (spacing[0], spacing[1]), 1.0, ("",) * 4)
