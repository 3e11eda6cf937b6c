"""Base of all training datasets: volumes are prepared once, and samples are augmented on every access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose
from torch.utils.data import Dataset

from camtools.data.geometry import volume_to_slices

__all__ = ["VolumeSamples"]


class VolumeSamples(Dataset[dict[str, Any]]):
    """Base of datasets whose samples are parts of volumes.

    A volume is prepared when one of its samples is first needed, and then stays in memory.

    Args:
        data: volume items.
        prepare: dictionary transforms of the whole volume, applied once. They must put the slice axis last.
        transform: dictionary transforms of one sample, applied on every access (augmentation).
        seed: fixes the random draws of ``transform``, together with the epoch (:meth:`set_epoch`).
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: Callable[[Any], Any],
        transform: Callable[[Any], Any] | None,
        seed: int,
    ) -> None:
        self.data = list(data)
        self.prepare = prepare
        self.transform = transform
        self.seed = seed
        self._slices: dict[int, dict[str, torch.Tensor]] = {}
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Fix the random draws of the augmentation for one epoch, so that a resumed training repeats them."""
        if isinstance(self.transform, Compose):
            self.transform.set_random_state(seed=self.seed + 1000 * epoch)

    def files(self, item: dict[str, Any]) -> dict[str, str]:
        """Files of a volume to prepare, by key. The mask is never one of them."""
        return {"image": item["image"]}

    def slices(self, volume: int) -> dict[str, torch.Tensor]:
        """Prepared slices ``(Z, C, X, Y)`` of a volume, by key."""
        if volume not in self._slices:
            files = self.files(self.data[volume])
            prepared = self.prepare(files)
            self._slices[volume] = {key: _contiguous_slices(prepared[key]) for key in files}
        return self._slices[volume]

    def augmented(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the augmentation to a copy of a sample, since some MONAI transforms change their input."""
        copied = dict(sample)
        for key, value in sample.items():
            if isinstance(value, torch.Tensor):
                copied[key] = value.clone()
        # not "if self.transform": len() of MONAI's Compose reseeds its transforms
        if self.transform is None:
            return copied
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


def _contiguous_slices(volume: torch.Tensor) -> torch.Tensor:
    return volume_to_slices(torch.as_tensor(volume).as_subclass(torch.Tensor)).contiguous()
