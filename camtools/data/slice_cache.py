"""Prepared slices on disk, shared by the stages, runs and processes that prepare the same files in the same way."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from camtools.data.errors import DataError
from camtools.data.files import file_hash
from camtools.data.folders import check_file
from camtools.data.geometry import volume_to_slices
from camtools.data.partials import names_a_dead_writer
from camtools.data.settings import settings_digest
from camtools.data.storage import make_folder
from camtools.data.stored_slices import StoredSlices, write_slices

__all__ = ["SliceCache", "prepared_slices"]

logger = logging.getLogger("camtools")

Prepare = Callable[[Any], Any]
FORMAT = 1
GB = 10**9


class SliceCache:
    """Folder of prepared slices, one ``.npy`` file per volume and key.

    The name of a file is a hash of the content of the input file, the settings of ``prepare``, and the versions of the
    code (``camtools.data.settings.settings_digest``), so a changed volume or setting never meets an old file. Files
    are written atomically. Several processes may use the folder at the same time, and it may be removed at any time:
    missing slices are prepared again.

    Args:
        folder: the folder; it is created when the first volume is stored.
        limit: size of all files in GB, > 0. To stay below it, files that this run does not need are removed, the
            longest unused first. None: no limit.

    Raises:
        ValueError: ``limit`` is not positive.

    Example:
        >>> SliceCache("cache", limit=200).folder.name
        'cache'
    """

    def __init__(self, folder: str | Path, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise ValueError(f"Expected cache_limit to be positive, in GB, found {limit!r}. Give null for no limit.")
        self.folder = Path(folder)
        self.limit = limit
        self._started = time.time()

    def slices(self, files: Mapping[str, str], prepare: Prepare) -> dict[str, StoredSlices]:
        """Prepared slices of one volume by key, read from the folder or prepared now.

        Args:
            files: ``image`` and files on its voxels, by key.
            prepare: dictionary transform of a whole volume that puts the slice axis last.

        Raises:
            DataError: a file cannot be used, or the slices do not fit below ``limit``.
            StorageError: a file cannot be written.
            TypeError: ``prepare`` holds a setting that cannot be described.
        """
        paths = self._paths(files, prepare)
        found = {key: self._stored(path) for key, path in paths.items()}
        if any(slices is None for slices in found.values()):
            prepared = prepared_slices(files, prepare)
            for key, path in paths.items():
                found[key] = found[key] or self._add(prepared[key], path)
        return {key: slices for key, slices in found.items() if slices is not None}

    def size(self) -> int:
        """Bytes on disk of all files."""
        return sum(bytes_on_disk for _, bytes_on_disk in self._entries().values())

    def remove_unfinished(self) -> None:
        """Remove what killed processes of this machine had begun to write."""
        for path in self.folder.glob(".part-*"):
            if names_a_dead_writer(path):
                path.unlink(missing_ok=True)

    def _paths(self, files: Mapping[str, str], prepare: Prepare) -> dict[str, Path]:
        settings = settings_digest(prepare)
        image = _content(files["image"])
        paths = {}
        for key, file in files.items():
            # Other volumes are turned like the image, so they depend on it.
            sources = [image] if key == "image" else [image, _content(file)]
            name = json.dumps([FORMAT, key, settings, sources]).encode()
            paths[key] = self.folder / f"{hashlib.sha256(name).hexdigest()[:40]}.npy"
        return paths

    def _stored(self, path: Path) -> StoredSlices | None:
        try:
            stored = StoredSlices(path)
            now = time.time()
            os.utime(path, (now, now))  # this run needs it
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            logger.warning("%s is damaged (%s). Its slices are prepared again.", path, error)
            return None
        return stored

    def _add(self, slices: torch.Tensor, path: Path) -> StoredSlices:
        make_folder(self.folder)
        self._make_room(slices.nbytes)
        write_slices(slices, path)
        return StoredSlices(path)

    def _make_room(self, needed: int) -> None:
        if self.limit is None:
            return
        entries = self._entries()
        used = sum(size for _, size in entries.values())
        for path, (last_use, size) in sorted(entries.items(), key=lambda entry: entry[1]):
            if used + needed <= self.limit * GB or last_use >= self._started:
                break
            with suppress(OSError):
                path.unlink()
                used -= size
        if used + needed > self.limit * GB:
            raise DataError(
                f"Expected the prepared slices to fit into {self.limit:g} GB (cache_limit), found {used / GB:.1f} GB "
                f"of this run in {self.folder} and more volumes to prepare. Raise cache_limit, choose a larger "
                "pixel_size, or give --cache_dir null to keep the slices in memory."
            )

    def _entries(self) -> dict[Path, tuple[float, int]]:
        """Time of the last use and bytes on disk of every file."""
        entries = {}
        for path in self.folder.glob("[!.]*.npy"):
            with suppress(FileNotFoundError):
                status = path.stat()
                entries[path] = (status.st_mtime, status.st_blocks * 512)
        return entries


def prepared_slices(files: Mapping[str, str], prepare: Prepare) -> dict[str, torch.Tensor]:
    """Prepare one volume and return its slices ``(Z, C, X, Y)`` by key, as plain contiguous tensors."""
    prepared = prepare(dict(files))
    return {key: _contiguous_slices(prepared[key]) for key in files}


def _contiguous_slices(volume: torch.Tensor) -> torch.Tensor:
    return volume_to_slices(torch.as_tensor(volume).as_subclass(torch.Tensor)).contiguous()


def _content(path: str | Path) -> str:
    check_file(Path(path))
    status = Path(path).stat()
    return _hashed(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1 << 16)
def _hashed(path: str, size: int, changed: int, number: int) -> str:
    """Content hash of a file; it is read once per process as long as it does not change."""
    return file_hash(path)
