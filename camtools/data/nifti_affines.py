"""The affine of a NIfTI header: one of sform, qform and pixdim, in millimetres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.data.affines import ADVICE, check_affine, shown
from camtools.data.errors import DataError, warn_once

__all__ = ["nifti_affine"]

Matrix = NDArray[Any]

_SFORM = "sform: srow_x, srow_y, srow_z"
_QFORM = "qform: quatern_b, quatern_c, quatern_d, qoffset, pixdim"
_UNITS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # code in the header: mm; unknown is read as mm


def nifti_affine(source: Path, fields: Any) -> Matrix:
    """Affine ``(4, 4)`` of a NIfTI header, in RAS and mm.

    The sform is used where its code is set, else the qform, else ``pixdim``. Where both codes are set and ``pixdim``
    contradicts the sform, the qform is used. Other units (metres, micrometres) are converted to mm; a header that
    names no unit is read as mm.

    Args:
        source: the file, for messages.
        fields: nibabel's header as it is in the file, before nibabel's corrections: they change a pixdim of 0 to 1.

    Raises:
        DataError: the affine cannot be used (:func:`camtools.data.affines.check_affine`), the unit does not exist, or
            ``pixdim`` holds no spacing.
    """
    header = fields.copy()
    shape = tuple(int(size) for size in header.get_data_shape()[:3])
    for axis, size in enumerate(shape):
        if size == 1 and header["pixdim"][1 + axis] <= 0:  # a single slice needs no spacing
            header["pixdim"][1 + axis] = 1
    pixdim = np.asarray(header["pixdim"], dtype=float)[1 : 1 + len(shape)]
    if not np.isfinite(pixdim).all():
        raise DataError(f"Expected finite numbers, found {pixdim} in the affine of {source} (pixdim). {ADVICE}")
    affine, field = _chosen_transform(header, pixdim, shape, source)
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        raise DataError(
            "Expected a unit of length of 1 (metres), 2 (mm), 3 (micrometres) or 0 (not given, read as mm), found "
            f"{code} in the header of {source} (xyzt_units). Correct the header."
        )
    scaled = np.diag([_UNITS[code]] * 3 + [1.0]) @ affine
    check_affine(scaled, source, field)
    return scaled


def _chosen_transform(header: Any, pixdim: Matrix, shape: tuple[int, ...], source: str | Path) -> tuple[Matrix, str]:
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if has_sform:
        affine = np.asarray(header.get_sform(), dtype=float)
        if has_qform and np.isfinite(affine).all() and (pixdim > 0).all():
            return _of_two(header, affine, pixdim, shape, source)
        return affine, _SFORM
    if (pixdim <= 0).any():
        raise DataError(f"Expected a positive spacing, found {pixdim} in the affine of {source} (pixdim). {ADVICE}")
    if not has_qform:
        return np.asarray(header.get_base_affine(), dtype=float), "pixdim"
    return _qform(header, source), _QFORM


def _of_two(
    header: Any, sform: Matrix, pixdim: Matrix, shape: tuple[int, ...], source: str | Path
) -> tuple[Matrix, str]:
    """The transform that agrees with pixdim, with a warning where the two place the voxels differently."""
    try:
        qform = _qform(header, source)
    except DataError:
        return sform, _SFORM  # a broken qform is not needed
    spacing = np.linalg.norm(sform[:3, :3], axis=0)[: len(pixdim)]
    if not np.allclose(spacing, pixdim, rtol=1e-2):
        warn_once(
            f"{source}: the voxels measure {shown(spacing)} in its sform and {shown(pixdim)} in its qform and pixdim. "
            "The qform is used. Correct the header if the sform is right."
        )
        return qform, _QFORM
    apart = _farthest(sform - qform, shape)
    if int(header["sform_code"]) == int(header["qform_code"]) and apart > spacing.max():
        warn_once(
            f"{source}: its sform and its qform have the same code, but place voxels up to {apart:.3g} apart, more "
            "than one voxel. The sform is used. Correct the header if the qform is right."
        )
    return sform, _SFORM


def _farthest(difference: Matrix, shape: tuple[int, ...]) -> float:
    """Largest distance between the places that two affines give to a corner of a volume; takes their difference."""
    sides = [(0, size - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array(np.meshgrid(*sides, [1.0], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm((difference @ corners)[:3], axis=0).max())


def _qform(header: Any, source: str | Path) -> Matrix:
    header = header.copy()
    if float(header["pixdim"][0]) not in (-1.0, 1.0):  # qfac; 1 where a program left it out
        header["pixdim"][0] = 1
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except Exception as error:  # nibabel raises its own classes
        raise DataError(
            f"Expected a rotation, found none ({error}) in the affine of {source} ({_QFORM}). {ADVICE}"
        ) from error
