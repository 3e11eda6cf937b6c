"""Kinds of image files: as the suffix of the name says, and as the first bytes of the content show."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from camtools.data.errors import DataError

__all__ = [
    "DETACHED_SUFFIXES",
    "DICOM_ADVICE",
    "IMAGE_SUFFIXES",
    "file_kind",
    "has_dicom",
    "is_image_name",
    "is_itk_file",
    "is_photograph",
    "not_the_format",
]

_PHOTOGRAPHS = (".png", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", *_PHOTOGRAPHS)
DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers whose voxels are in another file: listed, so that reading them gives a clear error."""

_LOOKED_AT = 20  # entries of a folder; a series may be the only content or have a few others beside it

_GZIP = b"\x1f\x8b"
_STARTS = (
    (_GZIP, "gzip-compressed data"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"BM", "a BMP picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"II+\0", "a BigTIFF picture"),
    (b"MM\0+", "a BigTIFF picture"),
    (b"\0\0\0\x0cjP", "a JPEG 2000 picture"),
    (b"NRRD", "an NRRD volume"),
    (b"ObjectType", "a MetaImage volume"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf", "a 7-zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data: fetch the data with 'git lfs pull'"),
)
DICOM_ADVICE = "Convert the series to NIfTI, for example with dcm2niix: dcm2niix -z y -o NIFTI_FOLDER DICOM_FOLDER"
_MARKUP = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<?xml", "an XML file"))


def is_image_name(path: str | Path) -> bool:
    """Whether a file is listed as an image, by its suffix.

    Example:
        >>> is_image_name("a.NII.GZ"), is_image_name("a.txt")
        (True, False)
    """
    return str(path).lower().endswith((*IMAGE_SUFFIXES, *DETACHED_SUFFIXES))


def is_photograph(path: str | Path) -> bool:
    """Whether a file is a 2D image without patient axes and millimetres, by its suffix.

    Example:
        >>> is_photograph("a.PNG"), is_photograph("a.nii.gz")
        (True, False)
    """
    return str(path).lower().endswith(_PHOTOGRAPHS)


def is_itk_file(path: str | Path) -> bool:
    """Whether a file is read with ITK, by its suffix: NRRD and MetaImage.

    Example:
        >>> is_itk_file("a.nrrd"), is_itk_file("a.MHA"), is_itk_file("a.nii")
        (True, True, False)
    """
    return str(path).lower().endswith((".nrrd", ".mha", *DETACHED_SUFFIXES))


def file_kind(start: bytes) -> str:
    """Words for the kind of a file that begins with these bytes; 512 bytes are enough.

    Example:
        >>> file_kind(b"BM...."), file_kind(b"<!DOCTYPE html><html>"), file_kind(b"hello")
        ('a BMP picture', 'a web page', 'a text file')
    """
    for begin, kind in _STARTS:
        if start.startswith(begin):
            return kind
    if b"/annex/objects/" in start[:300]:
        return "a pointer of git-annex, not the data: fetch the data with 'git annex get'"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP picture"
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2"):
        return "an uncompressed NIfTI file"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for begin, kind in _MARKUP:
        if text.startswith(begin):
            return kind
    if not start.strip(b"\0"):
        return "zeros only"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start):
        return "a text file"
    return "data of an unknown kind"


def has_dicom(folder: Path) -> bool:
    """Whether a file directly in a folder is DICOM, by its content: such files often have no suffix."""
    with suppress(OSError):
        for path in sorted(folder.iterdir())[:_LOOKED_AT]:
            if path.is_file() and file_kind(_start(path)) == "a DICOM file":
                return True
    return False


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def not_the_format(source: Path, start: bytes, expected: str, advice: str = "") -> DataError:
    """The error for a file whose content and name are of different kinds."""
    if file_kind(start) == "a DICOM file":
        advice = DICOM_ADVICE
    advice = advice or f"Convert it, or get the {expected} file again."
    return DataError(f"Expected {expected} data, found {file_kind(start)} in {source}. {advice}")
