"""Writing to a disk: files that survive a power cut, and errors that name the file."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["StorageError", "make_folder", "storage_errors", "sync_file", "sync_folder", "sync_tree"]

RESUME = "The same command then continues where it stopped."
ADVICE = {
    errno.ENOSPC: f"Free space on that disk, or choose a folder on another one. {RESUME}",
    errno.EDQUOT: f"Your quota there is used up: free space, or choose a folder elsewhere. {RESUME}",
    errno.EFBIG: f"The file system or a limit (ulimit -f) allows no file of that size: write elsewhere. {RESUME}",
    errno.EIO: f"The disk or the network file system failed: check it, or write elsewhere. {RESUME}",
    errno.EROFS: "That file system is read-only: choose a folder elsewhere.",
    errno.EACCES: "Get permission to write there, or choose another folder.",
    errno.EPERM: "Get permission to write there, or choose another folder.",
    errno.ENAMETOOLONG: "Rename the input, or choose a folder with a shorter path.",
    errno.ENOTDIR: "A file is where a folder is expected: move it away, or choose another folder.",
    errno.EEXIST: "A file is where a folder is expected: move it away, or choose another folder.",
    errno.EISDIR: "A folder is where the file is expected: move it away, or choose another folder.",
    errno.ENOENT: "Its folder was removed or moved while camtools was running: leave it there until the run ends.",
    errno.ELOOP: "A link in this path leads to itself: repair it, or choose another folder.",
}
# errors about writing even where they name no file
OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
# errors that every other file would cause too
FOR_ALL_FILES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
PROBE = bytes(1 << 20)


class StorageError(OSError):
    """A file could not be written; the message names the file, the error of the system, and what to do."""

    def __str__(self) -> str:
        return str(self.args[1])

    @property
    def for_all_files(self) -> bool:
        """Whether no other file can be written either, as on a full disk."""
        return self.errno in FOR_ALL_FILES


@contextmanager
def storage_errors(target: Path, temporary: Path) -> Iterator[None]:
    """Turn a failure to write ``temporary``, which is to become ``target``, into one clear error.

    Writers such as ``torch.save`` sometimes hide the error of the system. A second attempt to write then finds it.

    Raises:
        StorageError: no space, no permission to write, an impossible path, or a similar error of the system.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, RuntimeError) as error:
        code = _code_of_writing(error, target, temporary)
        if code is None:
            raise
        raise StorageError(code, _message(code, target)) from error


def _code_of_writing(error: Exception, target: Path, temporary: Path) -> int | None:
    """Error number of the system where ``error`` is about the file being written; None otherwise."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        return _probe(temporary)
    name = getattr(error, "filename", None)
    if name is None:
        return code if code in OF_WRITING else None
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
    about = {target, temporary, *target.parents}
    return code if code in ADVICE and path is not None and (path in about or temporary in path.parents) else None


def _probe(temporary: Path) -> int | None:
    """Error number that the system returns when more is written; None where that works."""
    try:
        if temporary.is_file():
            with temporary.open("ab") as handle:
                handle.write(PROBE)
                handle.flush()
                os.fsync(handle.fileno())
    except OSError as error:
        return error.errno if error.errno in ADVICE else None
    return None


def _message(code: int, target: Path) -> str:
    return f"Could not write {target}: {os.strerror(code)}{_free_space(code, target)}. {ADVICE[code]}"


def _free_space(code: int, target: Path) -> str:
    if code not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    try:
        free = shutil.disk_usage(next(parent for parent in target.parents if parent.is_dir())).free
    except OSError:
        return ""
    return f" ({free / 1e6:.0f} MB free)"


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, so that they survive a power cut.

    Raises:
        StorageError: a folder cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with storage_errors(folder / "x", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    _sync(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system supports it."""
    with suppress(OSError):
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until everything below a folder is on the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                sync_file(path)
        sync_folder(Path(root))
