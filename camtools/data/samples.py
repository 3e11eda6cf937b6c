"""Base of all training datasets: volumes are prepared once, and samples are augmented on every access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable
from torch.utils.data import Dataset

from camtools.data.slice_cache import SliceCache, prepared_slices
from camtools.data.stored_slices import StoredSlices

__all__ = ["BatchTransform", "VolumeSamples"]

Slices = Mapping[str, torch.Tensor | StoredSlices]


class BatchTransform(Protocol):
    """Random transform of whole batches on the device, such as :class:`camtools.augment.Augmentation`."""

    def set_epoch(self, epoch: int, samples: int) -> None:
        """Fix the random draws of all samples of one epoch."""

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Transform a batch."""


class VolumeSamples(Dataset[dict[str, Any]]):
    """Base of datasets whose samples are parts of volumes.

    A volume is prepared when one of its samples is first needed. Its slices then stay on the disk, or in memory
    without a cache.

    Args:
        data: volume items.
        prepare: dictionary transforms of the whole volume, applied once. They must put the slice axis last.
        transform: dictionary transforms of one sample, applied on every access.
        seed: fixes the random draws of ``transform``, together with the epoch (:meth:`set_epoch`) and the number of the
            sample.
        cache: keeps the prepared slices on the disk; None keeps them in memory.
        augmentation: random transform of whole batches. :class:`camtools.engine.NetworkTrainer` applies it on the
            device of the network, and samples of different sizes may then share a batch.

    Each sample also holds its number, ``index``, on which the draws of the augmentation depend.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: Callable[[Any], Any],
        transform: Callable[[Any], Any] | None,
        seed: int,
        cache: SliceCache | None = None,
        augmentation: BatchTransform | None = None,
    ) -> None:
        self.data = list(data)
        self.prepare = prepare
        self.transform = transform
        self.seed = seed
        self.cache = cache
        self.augmentation = augmentation
        self._slices: dict[int, Slices] = {}
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # also seen by running worker processes

    def __len__(self) -> int:
        raise NotImplementedError

    def sample(self, index: int) -> dict[str, Any]:
        """One sample before ``transform``."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            sample = self.sample(index)
        except FileNotFoundError:  # the cache was removed: prepare its volumes again
            self._slices.clear()
            sample = self.sample(index)
        return self._transformed(sample, index) | {"index": index}

    def set_epoch(self, epoch: int) -> None:
        """Fix the random draws for one epoch, so that a resumed training repeats them."""
        self._epoch.fill_(epoch)
        if self.augmentation is not None:
            self.augmentation.set_epoch(epoch, len(self))

    def files(self, item: dict[str, Any]) -> dict[str, str]:
        """Files of a volume to prepare, by key. The mask is never one of them."""
        return {"image": item["image"]}

    def slices(self, volume: int) -> Slices:
        """Prepared slices ``(Z, C, X, Y)`` of a volume, by key."""
        if volume not in self._slices:
            files = self.files(self.data[volume])
            if self.cache is None:
                self._slices[volume] = prepared_slices(files, self.prepare)
            else:
                self._slices[volume] = self.cache.slices(files, self.prepare)
        return self._slices[volume]

    def add_slices(self, found: Mapping[int, Slices]) -> None:
        """Use slices by number of the volume that other processes have prepared."""
        self._slices.update(found)

    def _transformed(self, sample: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Apply ``transform`` to a copy of a sample, since some MONAI transforms change their input."""
        copied = dict(sample)
        for key, value in sample.items():
            if isinstance(value, torch.Tensor):
                copied[key] = value.clone()
        # not "if self.transform": len() of MONAI's Compose reseeds its transforms
        if self.transform is None:
            return copied
        if isinstance(self.transform, Compose | Randomizable):
            numbers = np.random.SeedSequence((self.seed, int(self._epoch), index)).generate_state(1)
            self.transform.set_random_state(seed=int(numbers[0]))
        with _without_metadata():
            return dict(self.transform(copied))


@contextmanager
def _without_metadata() -> Iterator[None]:
    """Use plain tensors in MONAI's transforms. Slices need no affine, and the augmentation is three times faster."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
