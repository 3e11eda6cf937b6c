"""Locks that reserve a folder for one run. The operating system releases them when the process ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from camtools.data.partials import process_lives
from camtools.data.storage import StorageError, make_folder, storage_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK_NAME", "FolderInUseError", "FolderLock"]

logger = logging.getLogger("camtools")

LOCK_NAME = ".camtools.lock"
BUSY = (errno.EAGAIN, errno.EACCES)
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
TRIES, PAUSE = 6, 0.1  # a process that releases a shared lock holds an exclusive one for a moment
MOST_COMMAND = 300
HELD: set[FolderLock] = set()


class FolderInUseError(RuntimeError):
    """Another run uses the folder. The message names the folder and the process."""


class FolderLock:
    """Lock on a folder, by ``flock`` on a hidden file in it.

    The operating system releases the lock when the process ends, even if it is killed. The lock also works between
    machines if the network file system supports it (NFS, CephFS, Lustre mounted with ``flock``). If a file system has
    no locks, a warning says so. The file lists the processes that hold the lock, for the error message.

    Args:
        folder: folder to lock, created if absent.
        option: command-line option that chooses another folder, for the error message.
    """

    def __init__(self, folder: Path, option: str) -> None:
        self.folder = folder
        self.option = option
        self._handle: int | None = None
        self._is_shared = False

    @property
    def path(self) -> Path:
        """The hidden file."""
        return self.folder / LOCK_NAME

    def acquire(self, shared: bool) -> None:
        """Acquire the lock, or change its kind: exclusive, or shared with other runs that only read.

        Raises:
            FolderInUseError: another run holds the lock, and at least one of the two locks is exclusive.
            StorageError: the folder cannot be written.
        """
        if fcntl is None or (self._handle is not None and self._is_shared == shared):
            return
        make_folder(self.folder)
        for _ in range(TRIES):
            if self._try(shared):
                return
            time.sleep(PAUSE)
        raise FolderInUseError(self._message())

    def release(self) -> None:
        """Release the lock. The last holder removes the file."""
        if self._handle is None:
            return
        HELD.discard(self)
        with suppress(OSError):
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.unlink()
        self._close()

    def forget(self) -> None:
        """Close the file without unlocking it. A forked child calls this, since it does not own its parent's lock."""
        self._close()

    def _try(self, shared: bool) -> bool:
        if self._handle is None:
            self._handle = self._open(shared)
        if self._handle is None:
            return True
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            self._close()
            if error.errno in BUSY:
                return False
            logger.warning("%s cannot be locked (%s). Do not use it in another run.", self.folder, error.strerror)
            return True
        if not self._is_current():
            self._close()
            return False
        self._is_shared = shared
        HELD.add(self)
        self._sign(self._handle, shared)
        return True

    def _open(self, shared: bool) -> int | None:
        try:
            with storage_errors(self.path, self.path):
                return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except StorageError as error:
            if not shared or error.errno not in READ_ONLY:
                raise
        # finished results of another user, which are only read
        with suppress(OSError):
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return None

    def _is_current(self) -> bool:
        """Whether the locked file still exists. The previous holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(self._handle or 0), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def _sign(self, handle: int, shared: bool) -> None:
        """Write the description of this process to the file. A shared lock appends a line."""
        line = json.dumps(_own_description()) + "\n"
        with suppress(OSError):
            if not shared:
                os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_END)
            os.write(handle, line.encode())

    def _message(self) -> str:
        holders = ", and ".join(map(_describe, self._holders())) or "an unknown process"
        return (
            f"Expected {self.folder} to be free, found another run in it: {holders}. "
            f"Wait until it ends, or choose another folder ({self.option})."
        )

    def _holders(self) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        found: dict[tuple[Any, Any], dict[str, Any]] = {}
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                holder = json.loads(line)
                if holder["host"] != socket.gethostname() or process_lives(int(holder["pid"])):
                    found[holder["host"], holder["pid"]] = holder
        return list(found.values())


def _own_description() -> dict[str, Any]:
    command = shlex.join(sys.argv)
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds"),
        "command": command if len(command) <= MOST_COMMAND else command[:MOST_COMMAND] + " ...",
    }


def _describe(holder: dict[str, Any]) -> str:
    own = holder["host"] == socket.gethostname() and holder["pid"] == os.getpid()
    who = f"this process ({holder['pid']})" if own else f"process {holder['pid']} on {holder['host']}"
    return f"{who}, started {holder.get('started')}, `{holder.get('command')}`"


def _forget_in_child() -> None:
    for lock in HELD:
        lock.forget()
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
