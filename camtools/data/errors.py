"""Errors: data that cannot be used, and what lies below the wrappers of other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["DataError", "damaged", "not_one_volume", "reason", "size_in_words", "too_large"]


class DataError(ValueError):
    """A file or a list of files does not hold what camtools needs.

    The message says what was expected, what was found, in which file, and what to do.
    """


def not_one_volume(source: Path, shape: Sequence[int]) -> DataError:
    """The error for a file of several volumes, or of several values a voxel; ``shape`` ends with their number."""
    return DataError(
        f"{source} is {len(shape)}D with shape {tuple(shape)}: expected one 3D volume (or a 2D image). "
        "Split a time series or a stack of modalities into one file each."
    )


def damaged(source: Path, found: str) -> DataError:
    """The error for a file that is incomplete or contradicts itself; ``found`` says how.

    Example:
        >>> print(damaged(Path("a.nii"), "it ends after 9 bytes"))
        a.nii cannot be read (it ends after 9 bytes). The file is truncated or damaged: copy or export it again.
    """
    return DataError(f"{source} cannot be read ({found}). The file is truncated or damaged: copy or export it again.")


def too_large(source: Path, size: int) -> DataError:
    """The error for a volume that does not fit into memory; ``size`` in bytes, once read."""
    return DataError(
        f"{source} needs {size_in_words(size)} of memory, more than is free. The file may be whole: close other "
        "programs, use a machine with more memory, or crop or downsample the volume."
    )


def size_in_words(size: int) -> str:
    """A number of bytes as people read it.

    Example:
        >>> size_in_words(512), size_in_words(2_400_000_000)
        ('512 bytes', '2.4 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, 5)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB', 'PB')[power - 1]}"


def reason(error: BaseException) -> str:
    """What went wrong, below MONAI's wrappers: the message of camtools' own error, else type and message of the root.

    Example:
        >>> try:
        ...     try:
        ...         raise DataError("scan.nii is empty.")
        ...     except DataError as cause:
        ...         raise RuntimeError("Failed to instantiate component") from cause
        ... except RuntimeError as error:
        ...     print(reason(error))
        scan.nii is empty.
    """
    while error.__cause__ is not None and not type(error).__module__.startswith("camtools"):
        error = error.__cause__
    return str(error) if type(error).__module__.startswith("camtools") else f"{type(error).__name__}: {error}"
