"""The header of a NIfTI file: parsed by nibabel, and checked for contradictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError, damaged, not_one_volume
from camtools.data.file_kinds import not_the_format
from camtools.data.nifti_affines import nifti_affine
from camtools.data.voxels import check_real

__all__ = ["MOST_CHANNELS", "NiftiHeader", "read_header"]

MOST_CHANNELS = 16  # along the fourth axis; longer ones are series of time or diffusion
_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_SMALLEST_SLOPE, _LARGEST_SLOPE = 1e-20, 1e20


@dataclass(frozen=True)
class NiftiHeader:
    """What a reader of the voxels needs to know.

    Attributes:
        fields: nibabel's header.
        affine: ``(4, 4)`` in RAS, mm.
        shape: of the volume, two or three axes.
        channels: values per voxel, which lie along the fourth axis of the file.
        dtype: of a voxel in the file, with its byte order.
        offset: first byte of the voxels.
        slope: factor of the voxels; 1 where the header says 0, which means no scaling.
        inter: offset, added after the factor.
        read: bytes of the file that the header took.
        byte_order: ``"little"`` or ``"big"``.
        extended: whether extensions fill the bytes up to ``offset``.
    """

    fields: Any
    affine: NDArray[Any]
    shape: tuple[int, ...]
    channels: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    read: int
    byte_order: Literal["little", "big"]
    extended: bool

    @property
    def size(self) -> int:
        """Bytes of the voxels."""
        return self.dtype.itemsize * math.prod(self.stored_shape)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the file, with the axis of the channels where there are several."""
        return (*self.shape, self.channels) if self.channels > 1 else self.shape


def read_header(source: Path, stream: BinaryIO) -> NiftiHeader:
    """Read and check the header, 352 or 544 bytes of ``stream``.

    Raises:
        DataError: the file is of another kind, the header is damaged, its affine cannot be used, or it does not
            describe one volume of real numbers, of one channel or of 2 to 16 along the fourth axis.
    """
    start = stream.read(352)
    byte_order, kind = _layout(source, start)
    if kind is nib.Nifti2Header:
        start += stream.read(544 - 352)
    if len(start) < kind.sizeof_hdr + 4:
        raise damaged(source, f"it ends within its header, after {len(start)} of {kind.sizeof_hdr + 4} bytes")
    fields = kind(start[: kind.sizeof_hdr], byte_order, check=False)
    _check_magic(source, fields, kind)
    shape, dtype, offset = _shape(source, fields), _dtype(source, fields), _offset(source, fields, kind)
    _check_codes(source, fields)
    slope, inter = _scaling(source, fields)
    check_real(source, dtype)
    volume, channels = _volume(source, shape)
    affine = nifti_affine(source, fields)
    fields.check_fix()  # nibabel corrects every file that it loads
    extended = start[kind.sizeof_hdr] != 0
    return NiftiHeader(fields, affine, volume, channels, dtype, offset, slope, inter, len(start), byte_order, extended)


def _volume(source: Path, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Shape of the volume, without axes of length 1 beyond the third, and number of channels."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 4 and shape[3] <= MOST_CHANNELS:
        return shape[:3], shape[3]
    if len(shape) not in (2, 3):
        raise not_one_volume(source, shape)
    return shape, 1


def _contradiction(source: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"Expected {expected}, found {found} in the NIfTI header of {source}. Copy or export the file again, or "
        "correct the header."
    )


def _layout(source: Path, start: bytes) -> tuple[Literal["little", "big"], Any]:
    """Byte order and class of the header: its first number is its size."""
    if (little := int.from_bytes(start[:4], "little")) in _SIZES:
        return "little", _SIZES[little]
    if (big := int.from_bytes(start[:4], "big")) in _SIZES:
        return "big", _SIZES[big]
    if start[344:347] == b"n+1" or start[4:7] == b"n+2":
        found = int.from_bytes(start[:4], "little", signed=True)
        raise _contradiction(source, f"sizeof_hdr = {found}", "348 or 540")
    raise not_the_format(source, start, "NIfTI")


def _check_magic(source: Path, fields: Any, kind: Any) -> None:
    magic = bytes(fields["magic"])
    expected = bytes(kind.single_magic)
    if magic.rstrip(b"\0") == expected.rstrip(b"\0"):
        return
    if magic[:3] in (b"ni1", b"ni2"):
        raise DataError(
            f"Expected header and voxels in one file, found only a header in {source}: its voxels are in another file "
            "(.img). Load the pair and save it as .nii.gz."
        )
    if not magic.strip(b"\0"):
        raise DataError(
            f"Expected NIfTI, found a header of Analyze 7.5 in {source}, which does not tell left from right. Convert "
            "the pair of .hdr and .img to .nii.gz with a tool that knows its orientation."
        )
    raise _contradiction(source, f"magic = {magic!r}", repr(expected))


def _shape(source: Path, fields: Any) -> tuple[int, ...]:
    dim = [int(value) for value in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise _contradiction(source, f"dim[0] = {dim[0]} axes", "1 to 7")
    shape = tuple(dim[1 : 1 + dim[0]])
    if min(shape) < 0:
        raise _contradiction(source, f"dim = {shape}", "positive lengths")
    if min(shape) == 0:
        raise DataError(f"Expected a volume, found no voxels (shape {shape}) in {source}. Export the file again.")
    return shape


def _dtype(source: Path, fields: Any) -> np.dtype[Any]:
    code = int(fields["datatype"])
    try:
        dtype: np.dtype[Any] = fields.get_data_dtype()
    except Exception:  # nibabel raises its own classes
        dtype = np.dtype(np.void)
    if dtype.itemsize == 0 or (dtype.kind == "V" and not dtype.names):
        raise _contradiction(source, f"datatype = {code}", "a type of real numbers, such as 4 (int16) or 16 (float32)")
    bits = int(fields["bitpix"])
    if bits != 8 * dtype.itemsize:
        raise _contradiction(source, f"bitpix = {bits} with datatype = {code}", f"bitpix = {8 * dtype.itemsize}")
    return dtype


def _offset(source: Path, fields: Any, kind: Any) -> int:
    offset, least = float(fields["vox_offset"]), kind.sizeof_hdr + 4
    if not (np.isfinite(offset) and offset == int(offset) and offset >= least):
        raise _contradiction(source, f"vox_offset = {offset:g}", f"a whole number of bytes from {least}")
    return int(fields["vox_offset"])


def _check_codes(source: Path, fields: Any) -> None:
    """Refuse codes that do not exist: some readers then ignore the transform, others use it."""
    for name in ("qform_code", "sform_code"):
        if not 0 <= int(fields[name]) <= 5:
            raise _contradiction(source, f"{name} = {int(fields[name])}", "0 to 5")


def _scaling(source: Path, fields: Any) -> tuple[float, float]:
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if not _SMALLEST_SLOPE < abs(slope) < _LARGEST_SLOPE:  # NaN too
        raise _contradiction(source, f"scl_slope = {slope:g}", "a finite factor of the voxels, 1 for none")
    if not abs(inter) < _LARGEST_SLOPE:
        raise _contradiction(source, f"scl_inter = {inter:g}", "a finite offset of the voxels, 0 for none")
    return slope, inter
