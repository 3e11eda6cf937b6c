"""The journal of a folder: every action, one line each, on the disk before it is answered."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError
from camtools.data.storage import make_folder, storage_errors, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

logger = logging.getLogger("camtools")


class Journal:
    """A file of JSON lines that several processes may append to.

    Who appends holds a lock of the system, reads what others have appended since, and writes one line that is on the
    disk before the lock is given up. A line that a crash cut off is removed by the next one who appends.

    Args:
        path: the file; its folder is made where it is absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._handle: int | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, to read and append."""
        make_folder(self.path.parent)
        is_new = not self.path.exists()
        with storage_errors(self.path, self.path):
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            if is_new:
                sync_folder(self.path.parent)
            yield
        finally:
            os.close(self._handle)
            self._handle = None

    def has_news(self) -> bool:
        """Whether somebody has appended since the last read."""
        try:
            return self.path.stat().st_size != self._read
        except FileNotFoundError:
            return self._read != 0

    def read_new(self) -> list[dict[str, Any]]:
        """Entries since the last call; call it under :meth:`locked`.

        Raises:
            DataError: the file has become shorter: somebody has replaced it.
        """
        assert self._handle is not None
        size = os.fstat(self._handle).st_size
        if size < self._read:
            raise DataError(
                f"Expected {self.path} to grow, found it shorter than before: somebody has replaced it. "
                "Start camtools tag again."
            )
        content = os.pread(self._handle, size - self._read, self._read)
        end = content.rfind(b"\n") + 1
        self._read += end
        if end < len(content):
            logger.warning("%s: an unfinished line of a killed process is removed", self.path)
            os.ftruncate(self._handle, self._read)
        return [entry for line in content[:end].splitlines() if (entry := self._parsed(line)) is not None]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; call it under :meth:`locked`, after :meth:`read_new`.

        Raises:
            StorageError: the disk is full, or the like.
        """
        assert self._handle is not None
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with storage_errors(self.path, self.path):
            try:
                written = os.pwrite(self._handle, line, self._read)
                if written < len(line):
                    os.pwrite(self._handle, line[written:], self._read + written)
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, self._read)
                raise
        self._read += len(line)

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            entry = json.loads(line)
            if isinstance(entry["case"], str) and isinstance(entry["change"], dict):
                return dict(entry)
        except (ValueError, KeyError, TypeError):
            pass
        logger.warning("%s: a line that is no entry is passed over: %r", self.path, line[:80])
        return None
