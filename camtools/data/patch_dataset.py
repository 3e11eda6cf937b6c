"""Training samples: patches of slices, each with the classes it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from camtools.data.patch_tags import PatchTagger
from camtools.data.samples import VolumeSamples

__all__ = ["PatchDataset"]


class PatchDataset(VolumeSamples):
    """Patches of tagged volumes, each with its multi-label tag as ``label``.

    A volume is prepared when one of its patches is first asked for, and kept in memory. The mask of an item is read for
    one purpose, to derive tags where none are given; it is never part of a sample.

    Args:
        data: volume items (``image``, and ``patch_labels`` or ``label``).
        tagger: cuts volumes into patches and tags them.
        transform: dictionary transforms of one patch, applied every time (augmentation).
        seed: with the epoch, it fixes the random draws of ``transform`` (``set_epoch``).

    Each sample holds ``image (C, size, size)`` and ``label (K,)``, float32, 1 for each class that is present.

    Raises:
        DataError: unusable tags, see :class:`camtools.data.PatchTagger`.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        tagger: PatchTagger,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(data, tagger.prepare, transform, seed)
        self.grid = tagger.grid
        self._tags = [tagger(item).float() for item in self.data]
        self._index = [
            (volume, index, patch)
            for volume, tags in enumerate(self._tags)
            for index in range(tags.shape[0])
            for patch in range(tags.shape[1])
        ]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume, k, patch = self._index[index]
        slices = self.slices(volume)["image"]
        row, column = self.grid.corners(*slices.shape[2:])[patch]
        image = slices[k, :, row : row + self.grid.size, column : column + self.grid.size]
        sample = {"image": self.grid.padded(image[None])[0], "label": self._tags[volume][k, patch]}
        return self.augmented(sample)
