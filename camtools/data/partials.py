"""Files and folders that are being written: their temporary names, and the remains of killed processes."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

__all__ = ["is_partial", "names_a_dead_writer", "partial_path", "process_lives", "remove_partial_files"]

logger = logging.getLogger("camtools")

TOKEN = r"(?P<token>[0-9a-f]{3,32})"
PARTIAL_NAMES = (
    re.compile(rf"\.part-{TOKEN}-.+", re.DOTALL),
    re.compile(rf"\..+\.{TOKEN}\.partial", re.DOTALL),
    re.compile(r"\.(pooled_)?metrics\.csv\.\d+\.tmp"),  # used by earlier versions
)
MOST_BYTES = 255  # longest file name on all common file systems


def partial_path(target: Path, folder: bool = False) -> Path:
    """Temporary name beside ``target`` that identifies the writing process; the name of a file keeps its suffixes.

    Example:
        >>> is_partial(partial_path(Path("out/a.nii.gz"))), partial_path(Path("out/a.nii.gz")).suffixes[-2:]
        (True, ['.nii', '.gz'])
    """
    token = f"{_host():04x}{os.getpid():08x}{uuid.uuid4().hex[:12]}"
    start, end = (f".{target.name}.{token}.partial", "") if folder else (f".part-{token}-", target.name)
    while end and len(os.fsencode(start + end)) > MOST_BYTES and len(os.fsencode(target.name)) <= MOST_BYTES:
        end = end[1:]
    return target.with_name(start + end)


def _host() -> int:
    return zlib.crc32(socket.gethostname().encode()) & 0xFFFF


def is_partial(path: Path) -> bool:
    """Whether camtools gives this name to a file or folder while it writes it."""
    return any(pattern.fullmatch(path.name) for pattern in PARTIAL_NAMES)


def names_a_dead_writer(path: Path) -> bool:
    """Whether the process that a temporary name identifies was on this machine and has ended."""
    token = _token(path)
    return _is_of_this_machine(token) and not _lives(token)


def _token(path: Path) -> str:
    match = next(filter(None, (pattern.fullmatch(path.name) for pattern in PARTIAL_NAMES)), None)
    return (match.groupdict().get("token") or "") if match else ""


def _is_of_this_machine(token: str) -> bool:
    return len(token) == 24 and int(token[:4], 16) == _host()


def _lives(token: str) -> bool:
    return process_lives(int(token[4:12], 16))


def process_lives(pid: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def remove_partial_files(folder: Path, below: bool = False) -> None:
    """Remove the unfinished files of ended processes from a folder to which no other run may write.

    Files of a running process of this machine stay, such as a report that is being written.

    Args:
        folder: the folder; it may be absent.
        below: also search the folders below it.
    """
    removed = 0
    for root, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(root, name)
            if is_partial(path) and not _is_being_written(path):
                removed += _remove(path)
        folders[:] = [name for name in folders if below and not is_partial(Path(name))]
    if removed:
        logger.info("%s: removed %d unfinished files of a run that was killed", folder, removed)


def _is_being_written(path: Path) -> bool:
    token = _token(path)
    return _is_of_this_machine(token) and _lives(token)


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not path.exists()
