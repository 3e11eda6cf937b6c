"""Training samples: patches of slices, each with its multi-label tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from camtools.data.patch_tags import PatchTagger
from camtools.data.samples import BatchTransform, VolumeSamples
from camtools.data.slice_cache import SliceCache
from camtools.data.splits import Splits

__all__ = ["PatchDataset"]


class PatchDataset(VolumeSamples):
    """Patches of tagged volumes, each with its multi-label tag as ``label``.

    ``splits`` adds the tags and removes the masks, so a mask is never part of a sample.

    Args:
        data: volume items (``image``, and ``patch_labels`` or ``label``).
        tagger: defines the patches of a volume and tags them.
        transform: dictionary transforms of one patch, applied on every access.
        splits: gives the tags of ``data``. None uses the tags in ``data``, or derives them with the default settings.
        seed: fixes the random draws of ``transform``, together with the epoch (``set_epoch``).
        cache: keeps the prepared slices on the disk (:class:`camtools.data.SliceCache`); None keeps them in memory.
        augmentation: random transform of whole batches on the device (:class:`camtools.augment.Augmentation`).

    Each sample holds ``image (C, size, size)``, ``label (K,)``, float32, 1 for each class that is present, and its
    number ``index``.

    Raises:
        DataError: the tags are invalid, see :class:`camtools.data.PatchTagger`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        tagger: PatchTagger,
        transform: Callable[[Any], Any] | None = None,
        splits: Splits | None = None,
        seed: int = 0,
        cache: SliceCache | None = None,
        augmentation: BatchTransform | None = None,
    ) -> None:
        tagged = (splits or Splits(data)).tagged(data, tagger)
        super().__init__(tagged, tagger.prepare, transform, seed, cache, augmentation)
        self.grid = tagger.grid
        self._tags = [item["patch_tags"].float() for item in self.data]
        self._index: list[tuple[int, int, int]] = []  # volume, slice and patch of each sample
        for volume, tags in enumerate(self._tags):
            self._index += product([volume], range(tags.shape[0]), range(tags.shape[1]))

    def __len__(self) -> int:
        return len(self._index)

    def sample(self, index: int) -> dict[str, Any]:
        """One patch with its tag, see ``VolumeSamples.sample``."""
        volume, k, patch = self._index[index]
        slices = self.slices(volume)["image"]
        row, column = self.grid.corners(slices.shape[2], slices.shape[3])[patch]
        image = slices[k, :, row : row + self.grid.size, column : column + self.grid.size]
        return {"image": self.grid.padded(image[None])[0], "label": self._tags[volume][k, patch]}
