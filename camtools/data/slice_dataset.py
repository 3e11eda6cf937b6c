"""Training samples: slices of volumes, each with its tag or its pseudo-label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from camtools.data.case_names import case_name, output_file
from camtools.data.errors import DataError
from camtools.data.samples import BatchTransform, VolumeSamples
from camtools.data.slice_cache import SliceCache
from camtools.data.splits import Splits

__all__ = ["SliceDataset", "pseudo_label_files"]


def pseudo_label_files(
    folder: str | Path, item: dict[str, Any], kinds: Sequence[str] = ("cam", "spl")
) -> dict[str, str]:
    """Paths of the pseudo-labels of a volume by kind: ``cam`` (fused activation map), ``spl`` (seed-derived), ``mask``.

    Example:
        >>> pseudo_label_files("labels", {"image": "a.nii.gz"}, ["mask"])
        {'mask': 'labels/a_mask.nii.gz'}
    """
    return {kind: str(output_file(folder, case_name(item), f"_{kind}.nii.gz")) for kind in kinds}


class SliceDataset(VolumeSamples):
    """Slices of tagged volumes, each with its tag or its pseudo-label as ``label``.

    ``splits`` adds the tags and removes the masks, so a mask is never part of a sample.

    Args:
        data: volume items (``image``, and ``slice_labels`` or ``label``).
        prepare: dictionary transforms of the whole volume, applied once. They must put the slice axis last.
        transform: dictionary transforms of one slice, applied on every access.
        splits: gives the tags of ``data``. None uses the tags in ``data``, or derives them with the default settings.
        pseudo_label_dir: None gives the tag as ``label``, an int64 scalar. A folder gives its pseudo-labels as
            ``label``, ``(K, H, W)`` in [0, 1], one channel per entry of ``pseudo_labels``.
        pseudo_labels: kinds of pseudo-label to load, see ``pseudo_label_files``.
        repeats: samples per slice and epoch, for random crops of large images.
        seed: fixes the random draws of ``transform``, together with the epoch (``set_epoch``).
        cache: keeps the prepared slices on the disk (:class:`camtools.data.SliceCache`); None keeps them in memory.
        augmentation: random transform of whole batches on the device (:class:`camtools.augment.Augmentation`).

    Each sample holds ``image (C, H, W)``, ``label``, ``tag``, and its number ``index``.

    Raises:
        DataError: the tags are invalid, see :func:`camtools.data.slice_tags`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        prepare: Callable[[Any], Any],
        transform: Callable[[Any], Any] | None = None,
        splits: Splits | None = None,
        pseudo_label_dir: str | Path | None = None,
        pseudo_labels: Sequence[str] = ("cam", "spl"),
        repeats: int = 1,
        seed: int = 0,
        cache: SliceCache | None = None,
        augmentation: BatchTransform | None = None,
    ) -> None:
        tagged = (splits or Splits(data)).tagged(data)
        super().__init__(tagged, prepare, transform, seed, cache, augmentation)
        self.pseudo_label_dir = pseudo_label_dir
        self.pseudo_labels = tuple(pseudo_labels)
        self._index: list[tuple[int, int]] = []  # volume and slice of each sample
        for volume, item in enumerate(self.data):
            self._index += [(volume, k) for k in range(len(item["slice_labels"]))]
        self._index *= repeats

    def __len__(self) -> int:
        return len(self._index)

    def sample(self, index: int) -> dict[str, Any]:
        """One slice with its tag or pseudo-label, see ``VolumeSamples.sample``."""
        volume, k = self._index[index]
        slices = self.slices(volume)
        self._check_count(volume, len(slices["image"]))
        tag = self.data[volume]["slice_labels"][k]
        label = torch.tensor(tag)
        if self.pseudo_label_dir is not None:
            label = torch.cat([slices[kind][k] for kind in self.pseudo_labels])
        return {"image": slices["image"][k], "tag": tag, "label": label}

    def _check_count(self, volume: int, slices: int) -> None:
        item = self.data[volume]
        if slices != len(item["slice_labels"]):
            raise DataError(
                f"{item['image']}: expected {len(item['slice_labels'])} slices, one per tag, found {slices} after "
                "'prepare'. Give the slice_axis of the splits to the transforms that prepare volumes."
            )

    def files(self, item: dict[str, Any]) -> dict[str, str]:
        """Image and pseudo-labels; see ``VolumeSamples.files``."""
        if self.pseudo_label_dir is None:
            return super().files(item)
        return super().files(item) | pseudo_label_files(self.pseudo_label_dir, item, self.pseudo_labels)
