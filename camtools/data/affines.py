"""Affines of files: from the header, in millimetres, and refused by name where they say nothing about the voxels."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from camtools.data.errors import DataError

__all__ = ["check_affine", "itk_unit", "nifti_affine"]

logger = logging.getLogger("camtools")

Matrix = NDArray[Any]

SMALLEST, LARGEST = 1e-5, 1e3  # mm a voxel: 10 nm to 1 m
FARTHEST = 1e7  # mm from the origin
_FLATTEST = 1e-3  # volume of the cell of three unit vectors; 1 where they are orthogonal
_SFORM = "sform: srow_x, srow_y, srow_z"
_QFORM = "qform: quatern_b, quatern_c, quatern_d, qoffset, pixdim"
_ADVICE = "Correct the header, or convert the volume again from its source."

_NIFTI_UNITS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # unknown is taken for mm
_WORDS = {
    1e3: ("m", "meter", "meters", "metre", "metres"),
    10.0: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    1.0: ("", "?", "???", "none", "unknown", "mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    1e-3: ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    1e-6: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
}
_UNITS = {word: factor for factor, words in _WORDS.items() for word in words}
_UNIT_FIELD = re.compile(r"^(space units|distanceunits)\s*[:=]\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


def check_affine(affine: Any, source: str | Path, field: str) -> None:
    """Check that an affine places voxels in space.

    Args:
        affine: ``(4, 4)`` voxel-to-world matrix in mm.
        source: file it comes from.
        field: field of the header it comes from.

    Raises:
        DataError: it holds NaN or infinity, an axis has a length of 0 or one below 10 nm or above 1 m, the origin lies
            beyond 10 km, or the three axes lie (almost) in one plane.
    """
    matrix = np.asarray(affine, dtype=float)
    expected = f"The affine of {source} ({field}) cannot be used: expected"
    if not np.isfinite(matrix).all():
        raise DataError(f"{expected} finite numbers, found {_shown(matrix)}. {_ADVICE}")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    for axis, length in enumerate(spacing):
        if not SMALLEST <= length <= LARGEST:
            raise DataError(
                f"{expected} a spacing from {SMALLEST:g} to {LARGEST:g} mm, found {length:.3g} mm along axis {axis}. "
                f"{_ADVICE}"
            )
    if np.abs(matrix[:3, 3]).max() > FARTHEST:
        raise DataError(f"{expected} an origin within {FARTHEST:g} mm, found {_shown(matrix[:3, 3])}. {_ADVICE}")
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < _FLATTEST:
        raise DataError(
            f"{expected} three axes that span the space, found a singular matrix, {_shown(matrix[:3, :3])}. {_ADVICE}"
        )


def nifti_affine(source: str | Path) -> tuple[Matrix, tuple[int, ...]]:
    """Affine in mm and shape of a NIfTI file, from its header alone.

    The sform counts where its code is set, else the qform, else ``pixdim``. Where both codes are set and ``pixdim``
    contradicts the sform, the qform counts. Units of the header (metres, micrometres) are turned into mm; a header that
    names none is taken to be in mm.

    Returns:
        ``(4, 4)`` affine in RAS, mm; and the spatial shape, at most three axes.

    Raises:
        DataError: an affine that cannot be used (:func:`check_affine`), or a unit or ``pixdim`` that is none.
        Exception: nibabel's own errors for what is not NIfTI.
    """
    header = _raw_header(source)
    shape = tuple(int(size) for size in header.get_data_shape()[:3])
    pixdim = np.asarray(header["pixdim"], dtype=float)[1 : 1 + min(len(header.get_data_shape()), 3)]
    if not np.isfinite(pixdim).all():
        raise DataError(f"The affine of {source} (pixdim) cannot be used: expected numbers, found {pixdim}. {_ADVICE}")
    affine, field = _chosen_transform(header, pixdim, shape, source)
    code = int(header["xyzt_units"]) & 7
    if code not in _NIFTI_UNITS:
        raise DataError(
            f"The header of {source} has the unit of length {code} (xyzt_units): expected 1 (metres), 2 (mm), 3 "
            "(micrometres) or 0 (none, which is mm). Correct the header."
        )
    scaled = np.diag([_NIFTI_UNITS[code]] * 3 + [1.0]) @ affine
    check_affine(scaled, source, field)
    return scaled, shape


def itk_unit(source: str | Path) -> float:
    """Millimetres of the unit of length that the header of an NRRD or MetaImage file names; 1 where it names none.

    Raises:
        DataError: a word that is no unit of length, or different units along different axes.
    """
    with Path(source).open("rb") as handle:
        text = handle.read(1 << 16).replace(b"\r", b"").partition(b"\n\n")[0].decode("utf-8", errors="replace")
    found = _UNIT_FIELD.search(text)
    if found is None:
        return 1.0
    words = [word.lower() for word in re.findall(r'"([^"]*)"', found[2])] or [found[2].lower()]
    if len(set(words)) > 1 or words[0] not in _UNITS:
        raise DataError(
            f"The header of {source} has {found[1]} {found[2]}: expected one unit of length for all axes, such as mm, "
            "um or m. Correct the header."
        )
    return _UNITS[words[0]]


def _raw_header(source: str | Path) -> Any:
    """The header as it stands in the file: loading a file, nibabel makes 1 of a pixdim of 0."""
    kind = type(nib.load(source).header)
    with ImageOpener(str(source)) as handle:
        header = kind.from_fileobj(handle, check=False)
    for axis, size in enumerate((*header.get_data_shape(), 1, 1)[:3]):
        if size == 1 and header["pixdim"][1 + axis] <= 0:  # a single slice needs no spacing
            header["pixdim"][1 + axis] = 1
    return header


def _chosen_transform(header: Any, pixdim: Matrix, shape: tuple[int, ...], source: str | Path) -> tuple[Matrix, str]:
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if has_sform:
        affine = np.asarray(header.get_sform(), dtype=float)
        if has_qform and np.isfinite(affine).all() and (pixdim > 0).all():
            return _of_two(header, affine, pixdim, shape, source)
        return affine, _SFORM
    if (pixdim <= 0).any():
        raise DataError(
            f"The affine of {source} (pixdim) cannot be used: expected a positive spacing, found {pixdim}. {_ADVICE}"
        )
    if not has_qform:
        return np.asarray(header.get_base_affine(), dtype=float), "pixdim"
    return _qform(header, source), _QFORM


def _of_two(
    header: Any, sform: Matrix, pixdim: Matrix, shape: tuple[int, ...], source: str | Path
) -> tuple[Matrix, str]:
    """The one of sform and qform that agrees with pixdim; a word where they place the voxels differently."""
    try:
        qform = _qform(header, source)
    except DataError:
        return sform, _SFORM  # the other one is not needed
    spacing = np.linalg.norm(sform[:3, :3], axis=0)[: len(pixdim)]
    if not np.allclose(spacing, pixdim, rtol=1e-2):
        _say(
            f"{source}: its sform has voxels of {_shown(spacing)}, its qform and pixdim of {_shown(pixdim)}; the qform "
            "is taken. Correct the header where the sform is right."
        )
        return qform, _QFORM
    apart = _farthest(sform - qform, shape)
    if int(header["sform_code"]) == int(header["qform_code"]) and apart > spacing.max():
        _say(
            f"{source}: its sform and its qform place voxels up to {apart:.3g} apart, more than a voxel, and both say "
            "that they are the scanner's; the sform is taken. Correct the header where the qform is right."
        )
    return sform, _SFORM


def _farthest(difference: Matrix, shape: tuple[int, ...]) -> float:
    """How far apart two affines place a corner of a volume, from the difference of the two."""
    sides = [(0, size - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array(np.meshgrid(*sides, [1.0], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm((difference @ corners)[:3], axis=0).max())


def _qform(header: Any, source: str | Path) -> Matrix:
    header = header.copy()
    if float(header["pixdim"][0]) not in (-1.0, 1.0):  # qfac, 1 where a program left it out
        header["pixdim"][0] = 1
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except Exception as error:  # nibabel's own kinds of error
        raise DataError(
            f"The affine of {source} ({_QFORM}) cannot be used: expected a rotation, found none ({error}). {_ADVICE}"
        ) from error


def _shown(values: Matrix) -> str:
    return np.array2string(np.asarray(values), precision=4, separator=", ").replace("\n", "")


@cache
def _say(message: str) -> None:
    """A warning, once in a process: a file is read several times in a run."""
    logger.warning(message)
