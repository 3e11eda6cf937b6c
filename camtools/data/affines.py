"""Affines: which ones place voxels in space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError

__all__ = ["ADVICE", "check_affine", "shown"]

SMALLEST, LARGEST = 1e-5, 1e3  # mm per voxel: 10 nm to 1 m
FARTHEST = 1e7  # mm from the origin
_FLATTEST = 1e-3  # volume spanned by the unit vectors of the three axes; 1 where they are orthogonal
ADVICE = "Correct the header, or convert the volume again from its source."


def check_affine(affine: Any, source: str | Path, field: str) -> None:
    """Raise an error where an affine does not place voxels in space.

    Args:
        affine: ``(4, 4)`` voxel-to-world matrix in mm.
        source: the file, for messages.
        field: field of the header, for messages.

    Raises:
        DataError: the matrix holds NaN or infinity; a voxel is shorter than 10 nm or longer than 1 m along an axis; the
            origin is more than 10 km away; or the three axes lie (almost) in one plane.
    """
    matrix = np.asarray(affine, dtype=float)
    place = f"in the affine of {source} ({field}). {ADVICE}"
    if not np.isfinite(matrix).all():
        raise DataError(f"Expected finite numbers, found {shown(matrix)} {place}")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    for axis, length in enumerate(spacing):
        if not SMALLEST <= length <= LARGEST:
            raise DataError(
                f"Expected a spacing from {SMALLEST:g} to {LARGEST:g} mm, found {length:.3g} mm along axis {axis} "
                f"{place}"
            )
    if np.abs(matrix[:3, 3]).max() > FARTHEST:
        raise DataError(f"Expected an origin within {FARTHEST:g} mm, found {shown(matrix[:3, 3])} {place}")
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < _FLATTEST:
        raise DataError(
            f"Expected three axes that span the space, found a singular matrix, {shown(matrix[:3, :3])}, {place}"
        )


def shown(values: NDArray[Any]) -> str:
    """An array on one line, for a message."""
    return np.array2string(np.asarray(values), precision=4, separator=", ").replace("\n", "")
