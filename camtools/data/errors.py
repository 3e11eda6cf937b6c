"""Errors: data that cannot be used, and what lies below the wrappers of other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["DataError", "not_one_volume", "reason"]


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
