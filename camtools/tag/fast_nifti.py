"""NIfTI volumes for the page, read without the copies that training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError
from camtools.data.geometry import SliceAxis, resolve_slice_axis, turn_to_slices
from camtools.data.headers import header_geometry
from camtools.data.nifti_files import read_nifti

__all__ = ["read_as_stored"]


def read_as_stored(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """A 3D NIfTI volume with the slice axis last and the in-plane axes along R, A, S, as a view of what was read.

    The voxels and the affine are those of :func:`camtools.transforms.PrepareVolumed`, in a fifth of the memory.

    Returns:
        Voxels ``(X, Y, Z)`` and the affine; None for every other or unusable file, about which
        :func:`camtools.data.read_volume` says what is wrong.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    try:
        geometry = header_geometry(path)
        values, _ = read_nifti(path)
    except (DataError, OSError, MemoryError):
        return None
    if geometry is None or values.ndim != 3 or values.size == 0:
        return None
    if not all(np.isfinite(values[..., index]).all() for index in range(values.shape[2])):
        return None
    affine = geometry[0]
    axis = resolve_slice_axis(affine, values.shape, slice_axis)
    order, flips = turn_to_slices(affine, axis)
    step = np.zeros((4, 4))  # from voxels of the result to voxels of the file
    step[3, 3] = 1
    turned = values.transpose(order)
    for new, (old, reverse) in enumerate(zip(order, flips, strict=True)):
        step[old, new] = -1 if reverse else 1
        step[old, 3] = turned.shape[new] - 1 if reverse else 0
    cut = tuple(slice(None, None, -1 if reverse else 1) for reverse in flips)
    return turned[cut], affine @ step
