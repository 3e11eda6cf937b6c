"""Locks that one run holds until it ends."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from monai.bundle import ConfigWorkflow

from camtools.data.partials import remove_partial_files
from camtools.engine.locks import FolderLock
from camtools.engine.ranks import Ranks

__all__ = ["RunLocks", "export_lock", "locks_of_run"]

_CURRENT: ContextVar[RunLocks | None] = ContextVar("locks", default=None)
_RUNS: weakref.WeakKeyDictionary[ConfigWorkflow, tuple[int, RunLocks]] = weakref.WeakKeyDictionary()


class RunLocks:
    """Locks of one run, by the real path of the folder: exclusive for folders that it writes, shared for reading.

    Example:
        >>> import tempfile
        >>> with RunLocks() as locks:
        ...     locks.hold(Path(tempfile.mkdtemp()), "--output_dir")
    """

    def __init__(self) -> None:
        self._locks: dict[Path, FolderLock] = {}

    def hold(self, folder: Path, option: str) -> None:
        """Lock a folder so that no other run can read or write it.

        Args:
            folder: folder to lock.
            option: command-line option that chooses another folder, for the error message.

        Raises:
            FolderInUseError: another run holds the folder.
        """
        self._lock(folder, option).acquire(shared=False)

    def share(self, folder: Path, option: str) -> None:
        """Lock a folder so that no other run can write it. Other runs can still read it.

        Raises:
            FolderInUseError: another run writes the folder.
        """
        self._lock(folder, option).acquire(shared=True)

    def drop(self, folder: Path) -> None:
        """Release the lock of one folder."""
        lock = self._locks.pop(folder.resolve(), None)
        if lock is not None:
            lock.release()

    def release(self) -> None:
        """Release the locks of all folders."""
        for folder in list(self._locks):
            self._locks.pop(folder).release()

    def _lock(self, folder: Path, option: str) -> FolderLock:
        return self._locks.setdefault(folder.resolve(), FolderLock(folder, option))

    def __enter__(self) -> RunLocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def locks_of_run() -> Iterator[RunLocks]:
    """Locks of the current bundle run. They are kept between stages and released when the run ends or fails.

    Outside a run (a component that is evaluated alone), they are released at the end of the block.
    """
    running = _workflows_on_stack()
    locks = _locks_of(running) if running else RunLocks()
    before = _CURRENT.set(locks)
    try:
        yield locks
    except BaseException:
        locks.release()
        raise
    finally:
        _CURRENT.reset(before)
        if not running:
            locks.release()


@contextmanager
def export_lock(path: str | Path | None) -> Iterator[None]:
    """Lock the folder of an exported file until the end of the run, or outside a run until the end of the block.

    If two trainings exported to one folder, it would be unclear which of them wrote the weights. All processes of a
    run must call this function.

    Raises:
        FolderInUseError: another run holds the folder.
    """
    if path is None:
        yield
        return
    folder, locks = Path(path).parent, _CURRENT.get()
    ours = locks or RunLocks()
    try:
        Ranks().first(lambda: _take_export(ours, folder))
        yield
    finally:
        if locks is None:
            ours.release()


def _take_export(locks: RunLocks, folder: Path) -> None:
    locks.hold(folder, "--export_dir DIR")
    remove_partial_files(folder)


def _workflows_on_stack() -> list[ConfigWorkflow]:
    found = []
    # Skip this frame: a reference to its own locals would keep all frames and the workflow alive.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigWorkflow):
            found.append(owner)
        frame = frame.f_back
    return found


def _locks_of(running: list[ConfigWorkflow]) -> RunLocks:
    """Locks of the innermost run.

    Runs of this thread that are no longer on its stack have ended, even if a traceback keeps their workflow alive.
    """
    thread = threading.get_ident()
    for workflow, (other, locks) in list(_RUNS.items()):
        if other == thread and workflow not in running:
            locks.release()
    if running[0] not in _RUNS:
        locks = RunLocks()
        _RUNS[running[0]] = (thread, locks)
        _release_at_end(running[0], locks)
    return _RUNS[running[0]][1]


def _release_at_end(workflow: ConfigWorkflow, locks: RunLocks) -> None:
    """Release the locks when MONAI finalizes a successful workflow, or when a failed workflow is deleted."""
    finalize = weakref.WeakMethod(workflow.finalize)

    def finalize_and_release() -> Any:
        try:
            method = finalize()
            return method() if method is not None else None
        finally:
            locks.release()

    workflow.finalize = finalize_and_release
    weakref.finalize(workflow, locks.release)
