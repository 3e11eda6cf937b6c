"""Errors: data that cannot be used, and the reason below the wrappers of other libraries."""

from __future__ import annotations

import dis
import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["DataError", "damaged", "not_one_volume", "reason", "size_in_words", "too_large", "warn_once"]

logger = logging.getLogger("camtools")

_PACKAGE = Path(__file__).parents[1]


class DataError(ValueError):
    """A file or a list of files does not contain what camtools needs.

    The message has one form: what was expected, what was found, in which file, and what to do.
    """


def not_one_volume(source: Path, shape: Sequence[int]) -> DataError:
    """The error for several volumes in a file, or several values per voxel; ``shape`` ends with their number."""
    return DataError(
        f"Expected one 3D volume (or a 2D image), found {len(shape)}D data of shape {tuple(shape)} in {source}. Split "
        "a time series into one file each. The channels of a case are read from NIfTI, 2 to 16 along its fourth axis."
    )


def damaged(source: Path, found: str) -> DataError:
    """The error for a file that is incomplete or contradicts itself; ``found`` says in which way.

    Example:
        >>> print(damaged(Path("a.nii"), "it ends after 9 bytes"))
        a.nii cannot be read (it ends after 9 bytes). The file is truncated or damaged: copy or export it again.
    """
    return DataError(f"{source} cannot be read ({found}). The file is truncated or damaged: copy or export it again.")


def too_large(source: Path, size: int) -> DataError:
    """The error for a volume that does not fit into memory; ``size`` in bytes, once read."""
    return DataError(
        f"{source} needs {size_in_words(size)} of memory, more than is free. The file may be intact: close other "
        "programs, use a machine with more memory, or crop or downsample the volume."
    )


@lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Log a warning about data once per process: a run reads the same file several times."""
    logger.warning(message)


def size_in_words(size: int) -> str:
    """A number of bytes in a unit that is easy to read.

    Example:
        >>> size_in_words(512), size_in_words(2_400_000_000)
        ('512 bytes', '2.4 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, 5)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB', 'PB')[power - 1]}"


def reason(error: BaseException) -> str:
    """What went wrong: the message of camtools' own error below the wrappers of other libraries.

    The first error in the chain that camtools raised is the most useful one: it names the file and says what to do. The
    error that caused it may only say "could not convert string to float". Where camtools raised none, the reason is the
    type and the message of the first cause.

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
            return _message(one)
    root = chain[-1]
    return f"{type(root).__name__}: {root}" if str(root) else type(root).__name__


def _message(error: BaseException) -> str:
    """The message, without the traceback that a worker process of a data loader adds."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    return re.split(r"(?m)^[\w.]+(?:Error|Exception): ", text)[-1].rstrip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _is_own(error: BaseException) -> bool:
    """Whether camtools raised it: its own class, or a ``raise`` statement in one of its files."""
    if type(error).__module__.startswith("camtools"):
        return True
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    # a call into C that fails, such as float("a"), ends here too: only a raise statement counts
    raised = dis.opname[code.co_code[traceback.tb_lasti]] == "RAISE_VARARGS"
    return raised and Path(code.co_filename).is_relative_to(_PACKAGE)
