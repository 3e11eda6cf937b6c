"""Whole prepared volumes, for validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from camtools.data.geometry import slices_to_volume
from camtools.data.slice_cache import SliceCache
from camtools.data.stored_slices import StoredSlices

__all__ = ["VolumeDataset"]


class VolumeDataset(Dataset[dict[str, Any]]):
    """Prepared volumes ``image (C, X, Y, Z)`` with their masks ``label (1, X, Y, Z)``, one in memory at a time.

    Args:
        data: volume items (``image`` and, if present, ``label``).
        prepare: dictionary transforms of a whole volume that put the slice axis last.
        cache: keeps the prepared slices on the disk; None prepares a volume on every access.
    """

    def __init__(
        self, data: Sequence[dict[str, Any]], prepare: Callable[[Any], Any], cache: SliceCache | None = None
    ) -> None:
        self.data = list(data)
        self.prepare = prepare
        self.cache = cache

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        files = {key: self.data[index][key] for key in ("image", "label") if self.data[index].get(key)}
        if self.cache is None:
            return dict(self.prepare(files))
        return {key: _volume(slices) for key, slices in self.cache.slices(files, self.prepare).items()}


def _volume(slices: StoredSlices) -> torch.Tensor:
    return slices_to_volume(slices.all())
