"""Objects that would not fit into memory together, kept in temporary files until they are needed again."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["Spool"]

T = TypeVar("T")


class Spool(Generic[T]):
    """A list in temporary files, which vanish with the object. One entry at a time is in memory.

    Example:
        >>> spool = Spool[int]()
        >>> spool.append(1); spool.append(2)
        >>> list(spool), list(spool)
        ([1, 2], [1, 2])
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="camtools-")
        self._count = 0

    def append(self, entry: T) -> None:
        """Add an entry at the end."""
        with self._path(self._count).open("wb") as handle:
            pickle.dump(entry, handle, protocol=pickle.HIGHEST_PROTOCOL)
        self._count += 1

    def __iter__(self) -> Iterator[T]:
        for number in range(self._count):
            with self._path(number).open("rb") as handle:
                yield pickle.load(handle)

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.pickle"
