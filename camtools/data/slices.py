"""Training samples: the slices of tagged volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose
from torch.utils.data import Dataset

from camtools.data.datalist import case_name
from camtools.data.geometry import volume_to_slices
from camtools.data.volumes import slice_tags

__all__ = ["PSEUDO_LABEL_SUFFIXES", "SliceDataset", "pseudo_label_files"]

PSEUDO_LABEL_SUFFIXES = {"cam": "_cam.nii.gz", "spl": "_spl.nii.gz"}


def pseudo_label_files(folder: str | Path, item: dict[str, Any]) -> dict[str, str]:
    """Paths of the pseudo-labels of a volume: ``cam`` (fused activation map) and ``spl`` (seed-derived)."""
    return {key: str(Path(folder) / (case_name(item) + suffix)) for key, suffix in PSEUDO_LABEL_SUFFIXES.items()}


class SliceDataset(Dataset[dict[str, Any]]):
    """Slices of tagged volumes, each with its tag or its pseudo-label as ``label``.

    A volume is prepared when one of its slices is first asked for, and kept in memory. The mask of an item is read
    for one purpose, to derive slice tags where none are given; it is never part of a sample.

    Args:
        data: volume items (``image``, and ``slice_labels`` or ``label``).
        prepare: dictionary transforms of the whole volume, applied once; they put the slice axis last.
        transform: dictionary transforms of one slice, applied every time (augmentation).
        pseudo_label_dir: None yields the tag as ``label``, an int64 scalar. A folder yields the pseudo-labels
            written there, ``(2, H, W)`` in [0, 1]: fused activation map, then seed-derived foreground probability.
        min_area_fraction: share of a slice's pixels above which a mask makes it positive, where tags are derived.
        slice_axis: array axis of the slices in the files; None takes the one with the largest spacing.
        seed: with the epoch, it fixes the random draws of ``transform`` (:meth:`set_epoch`).

    Each sample holds ``image (C, H, W)``, ``label``, and ``tag``.

    Raises:
        DataError: unusable tags, see :func:`camtools.data.slice_tags`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: Callable[[Any], Any],
        transform: Callable[[Any], Any] | None = None,
        pseudo_label_dir: str | Path | None = None,
        min_area_fraction: float = 0.0,
        slice_axis: int | None = None,
        seed: int = 0,
    ) -> None:
        self.data = list(data)
        self.prepare = prepare
        self.transform = transform
        self.pseudo_label_dir = pseudo_label_dir
        self.seed = seed
        self._prepared: dict[int, dict[str, torch.Tensor]] = {}
        self._tags = [slice_tags(item, min_area_fraction, slice_axis) for item in self.data]
        self._index = [(volume, k) for volume, tags in enumerate(self._tags) for k in range(len(tags))]
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume, k = self._index[index]
        prepared = self._volume(volume)
        tag = self._tags[volume][k]
        sample: dict[str, Any] = {"image": prepared["image"][k], "tag": tag}
        sample["label"] = torch.tensor(tag) if self.pseudo_label_dir is None else prepared["label"][k]
        # not "if self.transform": the length of MONAI's Compose reseeds its transforms
        if self.transform is None:
            return sample
        with _without_metadata():
            return dict(self.transform(sample))

    def set_epoch(self, epoch: int) -> None:
        """Fix the random draws of the augmentation for one epoch, so that a resumed training repeats them."""
        if isinstance(self.transform, Compose):
            self.transform.set_random_state(seed=self.seed + 1000 * epoch)

    def _volume(self, index: int) -> dict[str, torch.Tensor]:
        if index not in self._prepared:
            item = {"image": self.data[index]["image"]}
            if self.pseudo_label_dir is not None:
                item |= pseudo_label_files(self.pseudo_label_dir, self.data[index])
            prepared = self.prepare(item)
            volumes = {"image": prepared["image"]}
            if self.pseudo_label_dir is not None:
                volumes["label"] = torch.cat([prepared[key] for key in PSEUDO_LABEL_SUFFIXES])
            self._prepared[index] = {key: _contiguous_slices(value) for key, value in volumes.items()}
        return self._prepared[index]


@contextmanager
def _without_metadata() -> Iterator[None]:
    """Plain tensors inside MONAI's transforms: a slice needs no affine, and three times less time is spent on it."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _contiguous_slices(volume: torch.Tensor) -> torch.Tensor:
    return volume_to_slices(torch.as_tensor(volume).as_subclass(torch.Tensor)).contiguous()
