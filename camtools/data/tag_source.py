"""The mask of a training item, reduced to its tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.data import MetaTensor

from camtools.data.files import file_hash
from camtools.data.geometry import SliceAxis
from camtools.data.tags import slice_tags
from camtools.data.volumes import check_same_geometry, read_mask

if TYPE_CHECKING:
    from camtools.data.patch_tags import PatchTagger

__all__ = ["TagSource"]


class TagSource:
    """A mask that gives its tags, but not its voxels or its path.

    It replaces the ``label`` of a training item in :class:`camtools.data.Splits`.

    Args:
        image: path of the volume.
        mask: path of its mask.

    Example:
        >>> TagSource("a.nii.gz", "a_mask.nii.gz")
        TagSource of a.nii.gz
    """

    __slots__ = ("__mask", "image")

    def __init__(self, image: str, mask: str) -> None:
        self.image = image
        self.__mask = mask

    def __repr__(self) -> str:
        return f"TagSource of {self.image}"

    def slice_tags(
        self, min_area_fraction: float = 0.0, slice_axis: SliceAxis = None, image: MetaTensor | None = None
    ) -> list[int]:
        """Tags of the slices, see :func:`camtools.data.slice_tags`."""
        return slice_tags({"image": self.image, "label": self.__mask}, min_area_fraction, slice_axis, image)

    def patch_tags(self, tagger: PatchTagger) -> torch.Tensor:
        """Tags of the patches, see :class:`camtools.data.PatchTagger`."""
        return tagger({"image": self.image, "label": self.__mask})

    def check(self, image: MetaTensor) -> None:
        """Check that the mask can be read and lies on the voxels of its image.

        Raises:
            DataError: the mask cannot be used. This is also raised if the tags are given and the mask is not needed.
        """
        check_same_geometry(image, read_mask(self.__mask), self.image, self.__mask)

    def stamp(self) -> tuple[int, int]:
        """Size in bytes and modification time in ns. If they are equal, the mask has not changed."""
        status = Path(self.__mask).stat()
        return status.st_size, status.st_mtime_ns

    def sha256(self) -> str:
        """SHA-256 of the file."""
        return file_hash(self.__mask)

    def __reduce__(self) -> tuple[Any, ...]:
        return TagSource, (self.image, self.__mask)
