"""Slices of volumes: the axis along which they are stacked, and a volume as a batch of slices."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

__all__ = [
    "PLANES",
    "SliceAxis",
    "anatomical_axes",
    "check_slice_axis",
    "is_clear_stack",
    "resolve_slice_axis",
    "slice_axis_of",
    "slices_to_volume",
    "stacking_axis",
    "turn_to_slices",
    "volume_to_slices",
    "voxel_spacing",
]

SliceAxis = int | str | None

PLANES = ("sagittal", "coronal", "axial")  # slices across R, A, S
AUTO = "auto:"

CLEAR = 1.5  # ratio of the distance of slices to the size of pixels
_SQUARE = 1.05  # pixels are square when their two spacings are within this factor
_TIE = 1e-3


def voxel_spacing(affine: Any) -> NDArray[Any]:
    """Voxel size in mm along each array axis, from a ``(4, 4)`` affine.

    Example:
        >>> voxel_spacing(np.diag([1.0, -2.0, 6.5, 1.0])).tolist()
        [1.0, 2.0, 6.5]
    """
    return np.asarray(np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0))


def stacking_axis(affine: NDArray[Any], shape: tuple[int, ...] | None = None) -> int:
    """Array axis along which slices are stacked, according to the spacing.

    It is the axis with the largest spacing; in a tie, the last of these axes. Where the two larger spacings are equal
    (within 5 %) and the third is smaller, the pixels are square and the slices are thin: it is then the third axis.

    Args:
        affine: ``(4, 4)`` voxel-to-world matrix in mm.
        shape: spatial shape; an axis of length 1 (a 2D image) is used whatever the spacing.

    Example:
        >>> stacking_axis(np.diag([1.0, 6.5, 1.0, 1.0])), stacking_axis(np.diag([0.7, 0.7, 0.5, 1.0]))
        (1, 2)
    """
    if shape is not None and 1 in shape:
        return len(shape) - 1 - list(shape)[::-1].index(1)
    spacing = voxel_spacing(affine)
    smallest, middle, largest = np.sort(spacing)
    if largest < middle * _SQUARE and smallest * _SQUARE < middle:
        return int(spacing.argmin())
    # formats round the same affine differently: a difference of a micrometre is a tie
    return int(np.flatnonzero(spacing > spacing.max() - 1e-3)[-1])


def is_clear_stack(affine: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether the spacing shows how slices are stacked: their distance is at least 1.5 times the size of a pixel.

    Example:
        >>> is_clear_stack(np.diag([0.7, 0.7, 5.0, 1.0]), (9, 9, 9))
        True
        >>> is_clear_stack(np.diag([0.7, 0.7, 0.5, 1.0]), (9, 9, 9))
        False
    """
    _, middle, largest = np.sort(voxel_spacing(affine))
    return 1 in shape or bool(largest >= middle * CLEAR * (1 - _TIE))


def anatomical_axes(affine: NDArray[Any]) -> tuple[int, int, int]:
    """World axis (0, 1, 2 for R, A, S) that is closest to each array axis; each world axis is used once.

    Among assignments that are equally good up to rounding (an axis at 45 degrees), the first one is used, so two files
    with the same affine, rounded differently, get the same assignment.

    Example:
        >>> anatomical_axes(np.array([[0.0, 0.0, 3.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0, 0, 0, 1]]))
        (1, 2, 0)
    """
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    direction = np.abs(matrix / np.linalg.norm(matrix, axis=0))
    best, score = (0, 1, 2), -1.0
    for first, second, third in permutations(range(3)):
        world = (first, second, third)
        found = float(np.prod([direction[row, column] for column, row in enumerate(world)]))
        if found > score + _TIE:
            best, score = world, found
    return best


def check_slice_axis(slice_axis: Any) -> SliceAxis:
    """The setting ``slice_axis``, unchanged, where it is valid.

    It is an array axis (0, 1, 2); or an anatomical plane, ``"axial"``, ``"coronal"`` or ``"sagittal"``, for the array
    axis perpendicular to it; or None, which uses the spacing of each file; or a decision of
    :func:`camtools.data.dataset_slice_axis` for a dataset, such as ``"auto:axial"``.

    Raises:
        ValueError: any other value.

    Example:
        >>> check_slice_axis("axial")
        'axial'
    """
    number = isinstance(slice_axis, int) and not isinstance(slice_axis, bool) and 0 <= slice_axis <= 2
    if slice_axis is None or number or (isinstance(slice_axis, str) and slice_axis.removeprefix(AUTO) in PLANES):
        return slice_axis  # type: ignore[no-any-return]
    raise ValueError(
        "Expected as slice_axis 0, 1, 2, axial, coronal, sagittal or None (largest spacing), found "
        f"{slice_axis!r}. Correct the setting."
    )


def resolve_slice_axis(affine: NDArray[Any], shape: tuple[int, ...], slice_axis: SliceAxis = None) -> int:
    """Array axis of the slices of a volume under the setting ``slice_axis`` (:func:`check_slice_axis`).

    A 2D image is always one slice. With ``"auto:axial"``, a clear stack (:func:`is_clear_stack`) keeps its direction.

    Example:
        >>> thin = np.eye(4)[[2, 0, 1, 3]]  # array axis 1 runs along S
        >>> resolve_slice_axis(thin, (9, 9, 9), "axial"), resolve_slice_axis(thin, (9, 9, 9))
        (1, 2)
    """
    if isinstance(slice_axis, int):
        return slice_axis
    if slice_axis is None or 1 in shape or (slice_axis.startswith(AUTO) and is_clear_stack(affine, shape)):
        return stacking_axis(affine, shape)
    return anatomical_axes(affine).index(PLANES.index(slice_axis.removeprefix(AUTO)))


def slice_axis_of(volume: MetaTensor, slice_axis: SliceAxis = None) -> int:
    """Array axis of the slices of a ``(C, X, Y, Z)`` volume; see :func:`resolve_slice_axis`."""
    return resolve_slice_axis(np.asarray(volume.affine), tuple(volume.shape[1:]), slice_axis)


def turn_to_slices(affine: NDArray[Any], axis: int) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """New order and flips of the array axes that put ``axis`` last and the in-plane axes along R, A, S, in this order.

    The slice axis is never reversed: slice ``k`` of the file stays slice ``k``, and its tag stays valid.

    Returns:
        The array axes in their new order, and for each new axis whether it is reversed.

    Example:
        >>> turn_to_slices(np.diag([-6.5, -1.0, 1.0, 1.0]), axis=0)
        ((1, 2, 0), (True, False, False))
    """
    world = anatomical_axes(affine)
    first, second = sorted((index for index in range(3) if index != axis), key=world.__getitem__)
    matrix = np.asarray(affine, dtype=float)
    flips = (bool(matrix[world[first], first] < 0), bool(matrix[world[second], second] < 0), False)
    return (first, second, axis), flips


def volume_to_slices(volume: torch.Tensor) -> torch.Tensor:
    """``(C, X, Y, Z)`` volume to ``(Z, C, X, Y)`` batch of slices (a view)."""
    return volume.movedim(-1, 0)


def slices_to_volume(slices: torch.Tensor) -> torch.Tensor:
    """``(Z, C, X, Y)`` batch of slices to ``(C, X, Y, Z)`` volume (a view); inverse of :func:`volume_to_slices`."""
    return slices.movedim(0, -1)
