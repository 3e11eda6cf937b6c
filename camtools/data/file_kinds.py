"""What a file really is, by its first bytes: for messages about files whose name says something else."""

from __future__ import annotations

from pathlib import Path

from camtools.data.errors import DataError

__all__ = ["file_kind", "not_the_format"]

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
    (b"version https://git-lfs", "a pointer of Git LFS, not the data: fetch them with 'git lfs pull'"),
)
_MARKUP = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<?xml", "an XML file"))


def file_kind(start: bytes) -> str:
    """Words for the kind of file that begins with these bytes; some 512 of them tell what is known here.

    Example:
        >>> file_kind(b"BM...."), file_kind(b"<!DOCTYPE html><html>"), file_kind(b"hello")
        ('a BMP picture', 'a web page', 'a text file')
    """
    for begin, kind in _STARTS:
        if start.startswith(begin):
            return kind
    if b"/annex/objects/" in start[:300]:
        return "a pointer of git-annex, not the data: fetch them with 'git annex get'"
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


def not_the_format(source: Path, start: bytes, expected: str, advice: str = "") -> DataError:
    """The error for a file whose content is of another kind than its name says."""
    advice = advice or f"Convert it, or get the {expected} file again."
    return DataError(f"Expected {expected} data in {source}, found {file_kind(start)}. {advice}")
