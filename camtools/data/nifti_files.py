"""Reading NIfTI volumes: header first, then every byte once, to the end, where the checksum stands."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from monai.data import NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary
from numpy.typing import NDArray

from camtools.data.errors import DataError, damaged, size_in_words, too_large
from camtools.data.file_kinds import file_kind, not_the_format
from camtools.data.nifti_header import NiftiHeader, read_header
from camtools.data.voxels import FloatVoxels

__all__ = ["LARGEST_EXPANSION", "read_nifti"]

LARGEST_EXPANSION = 1032  # of the deflate method: no compressed byte becomes more
_PART = 1 << 20
_GZIP = b"\x1f\x8b"


def read_nifti(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels as float32 in the file's shape, and MONAI's metadata.

    A header that claims more than the file can hold is refused before memory is taken for it.

    Raises:
        DataError: another kind of file, a damaged header, voxels that are no real numbers or that float32 cannot hold,
            fewer or more bytes than the header says, a checksum that does not match, or not enough memory.
    """
    with source.open("rb") as file, _plain_words(source), _unpacked(source, file) as stream:
        header = read_header(source, stream)
        _check_claim(source, header)
        try:
            values = _voxels(source, stream, header)
        except MemoryError as error:
            raise too_large(source, header.size // header.dtype.itemsize * 4) from error
    return _with_metadata(source, values, header)


@contextmanager
def _unpacked(source: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """The stream of a NIfTI file: of the file itself, or of what is compressed in it, as its name says."""
    start = file.read(512)
    file.seek(0)
    compressed = source.name.lower().endswith(".gz")
    if compressed and not start.startswith(_GZIP):
        advice = f"Rename it to {source.stem}." if "NIfTI" in file_kind(start) else ""
        raise not_the_format(source, start, "gzip-compressed NIfTI", advice)
    if start.startswith(_GZIP) and not compressed:
        raise not_the_format(source, start, "uncompressed NIfTI", f"Rename it to {source.name}.gz.")
    if not compressed:
        yield file
        return
    with gzip.GzipFile(fileobj=file) as stream:
        if stream.peek(2)[:2] == _GZIP:
            raise DataError(
                f"Expected NIfTI in {source}, found gzip-compressed data inside gzip: it was compressed twice. "
                "Unpack it once (gunzip), or rename the unpacked file to .nii.gz."
            )
        yield cast(BinaryIO, stream)


@contextmanager
def _plain_words(source: Path) -> Iterator[None]:
    """Errors of the decompression in words."""
    try:
        yield
    except EOFError as error:
        raise damaged(source, "its compressed data end too early") from error
    except gzip.BadGzipFile as error:
        found = "the checksum or length of its compressed data does not match"
        if "Not a gzipped" in str(error):
            found = "after its compressed data other bytes follow"
        raise damaged(source, found) from error
    except zlib.error as error:
        raise damaged(source, "its compressed data are corrupt") from error


def _check_claim(source: Path, header: NiftiHeader) -> None:
    size, claimed = source.stat().st_size, header.offset + header.size
    most = size
    if source.name.lower().endswith(".gz"):
        most = LARGEST_EXPANSION * size
    if claimed > most:
        raise damaged(
            source,
            f"its header claims {size_in_words(claimed)}, shape {header.shape} of {header.dtype.name}, but the file "
            f"has {size_in_words(size)}",
        )


def _voxels(source: Path, stream: BinaryIO, header: NiftiHeader) -> NDArray[Any]:
    _check_extensions(source, _exactly(source, stream, header.offset - header.read), header)
    voxels = FloatVoxels(source, header.shape, header.slope, header.inter)
    left, part = header.size, _PART // header.dtype.itemsize * header.dtype.itemsize
    while left:
        data = _exactly(source, stream, min(part, left), header, left)
        left -= len(data)
        voxels.add(np.frombuffer(data, header.dtype))
    if stream.read(1):  # at the end, gzip compares checksum and length
        raise damaged(
            source,
            f"after its {size_in_words(header.size)} of voxels, shape {header.shape} of {header.dtype.name}, more "
            "bytes follow, so that its header does not fit its content",
        )
    return voxels.volume()


def _exactly(source: Path, stream: BinaryIO, count: int, header: NiftiHeader | None = None, left: int = 0) -> bytes:
    parts, missing = [], count
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    if missing and header is not None:
        found = header.size - left + count - missing
        raise damaged(
            source,
            f"it ends after {size_in_words(found)} of voxels, expected {size_in_words(header.size)}, shape "
            f"{header.shape} of {header.dtype.name}",
        )
    if missing:
        raise damaged(source, "it ends before the voxels that its header announces")
    return b"".join(parts)


def _check_extensions(source: Path, data: bytes, header: NiftiHeader) -> None:
    """Extensions of the header lie between it and the voxels; each begins with its size."""
    if not header.extended:
        return
    place = 0
    while len(data) - place >= 16:
        size = int.from_bytes(data[place : place + 4], header.byte_order)
        if not 8 <= size <= len(data) - place:
            raise damaged(source, f"an extension of its header has {size} bytes, where {len(data) - place} are left")
        place += size


def _with_metadata(source: Path, values: NDArray[Any], header: NiftiHeader) -> tuple[NDArray[Any], dict[str, Any]]:
    """MONAI's metadata; where ``pixdim`` contradicts one of the two transforms, MONAI takes the other one."""
    try:
        kind = nib.Nifti2Image if isinstance(header.fields, nib.Nifti2Header) else nib.Nifti1Image
        image = kind(values, header.fields.get_best_affine(), header.fields)
        if not np.isfinite(image.affine).all():
            raise ValueError("not finite")
        reader = NibabelReader()
        reader.filenames = [str(source)]
        array, metadata = reader.get_data(correct_nifti_header_if_necessary(image))
    except Exception as error:
        raise DataError(
            f"{source} has a damaged header: its transforms to millimetres (qform, sform) cannot be computed, expected "
            "a rotation and finite numbers. Copy or export the file again, or correct its header."
        ) from error
    return array, metadata
