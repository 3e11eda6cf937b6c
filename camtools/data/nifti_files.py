"""Reading NIfTI volumes: the header first, then every byte once, up to the checksum at the end."""

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
from numpy.typing import NDArray

from camtools.data.errors import DataError, damaged, size_in_words, too_large
from camtools.data.file_kinds import file_kind, not_the_format
from camtools.data.nifti_header import NiftiHeader, read_header
from camtools.data.voxels import FloatVoxels

__all__ = ["LARGEST_EXPANSION", "nifti_geometry", "read_nifti"]

LARGEST_EXPANSION = 1032  # bytes that one byte of a deflate stream can become
_PART = 1 << 20
_GZIP = b"\x1f\x8b"


def read_nifti(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels as float32 in the file's shape, channels along its fourth axis, and MONAI's metadata.

    A header that claims more than the file can hold is refused before memory is allocated.

    Raises:
        DataError: the file is of another kind; its header is damaged; its voxels are not real numbers that float32 can
            hold; it has fewer or more bytes than the header says; its checksum does not match; or memory is too small.
    """
    with source.open("rb") as file, _plain_words(source), _unpacked(source, file) as stream:
        header = read_header(source, stream)
        _check_claim(source, header)
        try:
            values = _voxels(source, stream, header)
        except MemoryError as error:
            raise too_large(source, header.size // header.dtype.itemsize * 4) from error
    return _with_metadata(source, values, header)


def nifti_geometry(source: Path) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Affine ``(4, 4)`` in RAS, mm, and spatial shape of a file, from its header alone.

    Raises:
        DataError: as for :func:`read_nifti`, as far as the header shows it.
    """
    with source.open("rb") as file, _plain_words(source), _unpacked(source, file) as stream:
        header = read_header(source, stream)
    return header.affine, header.shape


@contextmanager
def _unpacked(source: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """Stream of the uncompressed content; the suffix of the file says whether it is compressed."""
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
                f"Expected NIfTI, found gzip-compressed data inside gzip in {source}: it was compressed twice. "
                "Unpack it once (gunzip), or rename the unpacked file to .nii.gz."
            )
        yield cast(BinaryIO, stream)


@contextmanager
def _plain_words(source: Path) -> Iterator[None]:
    """Turn errors of the decompression into errors that name the file."""
    try:
        yield
    except EOFError as error:
        raise damaged(source, "its compressed data end too early") from error
    except gzip.BadGzipFile as error:
        found = "the checksum or the length of its compressed data does not match"
        if "Not a gzipped" in str(error):
            found = "other bytes follow its compressed data"
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
            f"its header claims {size_in_words(claimed)}, shape {header.stored_shape} of {header.dtype.name}, but the "
            f"file has {size_in_words(size)}",
        )


def _voxels(source: Path, stream: BinaryIO, header: NiftiHeader) -> NDArray[Any]:
    _check_extensions(source, _exactly(source, stream, header.offset - header.read), header)
    voxels = FloatVoxels(source, header.stored_shape, header.slope, header.inter)
    left, part = header.size, _PART // header.dtype.itemsize * header.dtype.itemsize
    while left:
        data = _exactly(source, stream, min(part, left), header, left)
        left -= len(data)
        voxels.add(np.frombuffer(data, header.dtype))
    if stream.read(1):  # at the end, gzip compares the checksum and the length
        raise damaged(
            source,
            f"more bytes follow its {size_in_words(header.size)} of voxels, shape {header.stored_shape} of "
            f"{header.dtype.name}, so its header does not fit its content",
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
            f"{header.stored_shape} of {header.dtype.name}",
        )
    if missing:
        raise damaged(source, "it ends before its voxels begin")
    return b"".join(parts)


def _check_extensions(source: Path, data: bytes, header: NiftiHeader) -> None:
    """Check the extensions between the header and the voxels: each begins with its size."""
    if not header.extended:
        return
    place = 0
    while len(data) - place >= 16:
        size = int.from_bytes(data[place : place + 4], header.byte_order)
        if not 8 <= size <= len(data) - place:
            raise damaged(source, f"an extension of its header claims {size} bytes, but {len(data) - place} are left")
        place += size


def _with_metadata(source: Path, values: NDArray[Any], header: NiftiHeader) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels and metadata as MONAI's reader gives them."""
    kind = nib.Nifti1Image
    if isinstance(header.fields, nib.Nifti2Header):
        kind = nib.Nifti2Image
    reader = NibabelReader()
    reader.filenames = [str(source)]
    array, metadata = reader.get_data(kind(values, header.affine, header.fields))
    return array, metadata
