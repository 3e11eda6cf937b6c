"""Errors: data that cannot be used, and what lies below the wrappers of other libraries."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["DataError", "not_one_volume", "reason"]

_PACKAGE = Path(__file__).parents[1]


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
    """What went wrong: the message of camtools' own error below the wrappers of other libraries.

    The first error of the chain that camtools raised itself says it best: it names the file and what to do, where the
    error it came from may be a bare "could not convert string to float". Without one, it is type and message of the
    error at the root.

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
    chain = list(_chain(error))
    for one in chain:
        if _is_own(one) and str(one):
            return str(one)
    root = chain[-1]
    return f"{type(root).__name__}: {root}" if str(root) else type(root).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _is_own(error: BaseException) -> bool:
    """Whether camtools raised it: a class of its own, or a ``raise`` statement in one of its files."""
    if type(error).__module__.startswith("camtools"):
        return True
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    # an error that a call into C raised, such as float("a"), ends at that line too: only a raise statement counts
    raised = dis.opname[code.co_code[traceback.tb_lasti]] == "RAISE_VARARGS"
    return raised and Path(code.co_filename).is_relative_to(_PACKAGE)
