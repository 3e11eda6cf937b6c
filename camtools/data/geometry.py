"""Slices of volumes: which axis they are stacked along, and the batch view of a volume."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

__all__ = [
    "slice_axis_codes",
    "slice_axis_of",
    "slices_to_volume",
    "stacking_axis",
    "volume_to_slices",
    "voxel_spacing",
]


def voxel_spacing(affine: Any) -> NDArray[Any]:
    """Voxel size along each array axis, in mm, of a ``(4, 4)`` affine.

    Example:
        >>> voxel_spacing(np.diag([1.0, -2.0, 6.5, 1.0])).tolist()
        [1.0, 2.0, 6.5]
    """
    return np.asarray(np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0))


def stacking_axis(affine: NDArray[Any], shape: tuple[int, ...] | None = None) -> int:
    """Array axis along which slices are stacked: the one with the largest spacing; on a tie the last of them.

    Args:
        affine: ``(4, 4)`` voxel-to-world matrix in mm.
        shape: spatial shape; an axis of length 1 (a 2D image) wins over every spacing.

    Example:
        >>> stacking_axis(np.diag([1.0, 6.5, 1.0, 1.0]))
        1
    """
    if shape is not None and 1 in shape:
        return len(shape) - 1 - list(shape)[::-1].index(1)
    spacing = voxel_spacing(affine)
    # formats store the same affine with other rounding: a micrometre less is a tie
    return int(np.flatnonzero(spacing > spacing.max() - 1e-3)[-1])


def slice_axis_of(volume: MetaTensor, slice_axis: int | None = None) -> int:
    """Array axis of the slices of a ``(C, X, Y, Z)`` volume: the given one, else its :func:`stacking_axis`."""
    if slice_axis is not None:
        return slice_axis
    return stacking_axis(np.asarray(volume.affine), tuple(volume.shape[1:]))


def slice_axis_codes(affine: NDArray[Any], axis: int) -> str:
    """Orientation codes that put array axis ``axis`` last and the in-plane axes in R, A, S order.

    The direction of the slice axis is kept, so that slice ``k`` of the file stays slice ``k`` and its tag stays valid.

    Example:
        >>> slice_axis_codes(np.diag([-6.5, -1.0, 1.0, 1.0]), axis=0)
        'ASL'
    """
    codes = nib.aff2axcodes(np.asarray(affine, dtype=float))
    world = nib.io_orientation(np.asarray(affine, dtype=float))[:, 0].astype(int)
    in_plane = sorted(int(world[index]) for index in range(3) if index != axis)
    return "".join("RAS"[index] for index in in_plane) + str(codes[axis])


def volume_to_slices(volume: torch.Tensor) -> torch.Tensor:
    """``(C, X, Y, Z)`` volume to ``(Z, C, X, Y)`` batch of slices (a view)."""
    return volume.movedim(-1, 0)


def slices_to_volume(slices: torch.Tensor) -> torch.Tensor:
    """``(Z, C, X, Y)`` batch of slices to ``(C, X, Y, Z)`` volume (a view); inverse of :func:`volume_to_slices`."""
    return slices.movedim(0, -1)
