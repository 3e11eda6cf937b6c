"""Slices of one prepared volume in a file, from which single slices are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy_format

from camtools.data.files import atomic_path

__all__ = ["StoredSlices", "write_slices"]

Index = int | tuple[Any, ...]


class StoredSlices:
    """Slices ``(Z, C, X, Y)`` in a ``.npy`` file, indexed as the tensor would be.

    The file is opened for each access and only the needed rows are read, so the memory of the process does not grow
    with the number of slices that it has seen. A memory map would count every page that was ever touched. The system
    keeps recently read files in its page cache, which it gives back when memory is needed.

    Args:
        path: file written by :func:`write_slices`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not complete, or not a ``.npy`` file of slices.

    Example:
        >>> import tempfile; path = Path(tempfile.mkdtemp()) / "a.npy"
        >>> write_slices(torch.arange(24.0).reshape(2, 1, 3, 4), path)
        >>> slices = StoredSlices(path)
        >>> slices.shape, slices[1, :, 2:, 1:3].tolist()
        ((2, 1, 3, 4), [[[21.0, 22.0]]])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self.path.open("rb") as handle:
            version = npy_format.read_magic(handle)
            if version != (1, 0):
                raise ValueError(f"Expected version 1.0 of the npy format, found {version} in {path}. Remove the file.")
            shape, fortran, self.dtype = npy_format.read_array_header_1_0(handle)
            self.offset = handle.tell()
            size = os.fstat(handle.fileno()).st_size
        self.shape = tuple(int(length) for length in shape)
        expected = self.offset + int(np.prod(self.shape)) * self.dtype.itemsize
        if len(self.shape) != 4 or fortran or size != expected:
            raise ValueError(
                f"Expected {expected} bytes of slices (Z, C, X, Y), found {size} of shape {self.shape} in {path}. "
                "Remove the file."
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> torch.Tensor:
        """One slice ``[k]``, or a part of it ``[k, channels, rows, columns]``, as a new tensor.

        Raises:
            FileNotFoundError: the file was removed.
        """
        if not isinstance(index, tuple):
            index = (index, slice(None), slice(None), slice(None))
        k, channels, rows, columns = index
        if not -len(self) <= k < len(self):
            raise IndexError(f"Expected a slice number below {len(self)}, found {k}.")
        first, stop, _ = rows.indices(self.shape[2])
        return self._read(k % len(self), first, max(stop - first, 0))[channels, :, columns]

    def all(self) -> torch.Tensor:
        """All slices."""
        return torch.stack([self[k] for k in range(len(self))])

    def _read(self, k: int, first: int, rows: int) -> torch.Tensor:
        channels, height, width = self.shape[1:]
        values = np.empty((channels, rows, width), self.dtype)
        with self.path.open("rb", buffering=0) as handle:
            if rows == height:
                self._fill(handle, k * channels * height * width, values)
            else:
                for channel in range(channels):
                    self._fill(handle, ((k * channels + channel) * height + first) * width, values[channel])
        return torch.from_numpy(values)

    def _fill(self, handle: Any, start: int, values: np.ndarray[Any, Any]) -> None:
        view = values.reshape(-1).view(np.uint8).data
        handle.seek(self.offset + start * self.dtype.itemsize)
        done = 0
        while done < len(view):
            count = handle.readinto(view[done:])
            if not count:
                raise FileNotFoundError(f"{self.path} became shorter while it was read.")
            done += count


def write_slices(slices: torch.Tensor, path: Path) -> None:
    """Write slices ``(Z, C, X, Y)`` as ``.npy``, atomically. Slices of zeros take no space where files may have holes.

    Raises:
        StorageError: the file cannot be written.
    """
    array = np.ascontiguousarray(slices.numpy())
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        npy_format.write_array_header_1_0(handle, npy_format.header_data_from_array_1_0(array))
        start = handle.tell()
        handle.truncate(start + array.nbytes)
        for k, values in enumerate(array):
            if values.any():
                handle.seek(start + k * values.nbytes)
                handle.write(values.data)
