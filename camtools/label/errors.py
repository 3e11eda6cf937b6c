"""Errors of a task as one exception that names the cause; MONAI's own message says only what it was doing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from camtools.data.errors import DataError, reason

__all__ = ["told"]


@contextmanager
def told() -> Iterator[None]:
    """Raise errors with the message of their root cause, because MONAI Label's clients see only the last line.

    Raises:
        DataError: camtools refused a file.
        RuntimeError: anything else went wrong.

    Example:
        >>> with told():
        ...     try:
        ...         raise DataError("scan.nii is empty.")
        ...     except DataError as cause:
        ...         raise RuntimeError("Failed to instantiate component") from cause
        Traceback (most recent call last):
        camtools.data.errors.DataError: scan.nii is empty.
    """
    try:
        yield
    except Exception as error:
        message = reason(error)
        if _is_of_data(error):
            raise DataError(message) from error
        raise RuntimeError(message) from error


def _is_of_data(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, DataError):
        error = error.__cause__
    return error is not None
