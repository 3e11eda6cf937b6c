"""Pseudo-masks of volumes from the tags of patches, slice by slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from camtools.cams.patch_class_maps import PatchClassMaps
from camtools.data.geometry import slices_to_volume, volume_to_slices
from camtools.precision import mixed_precision
from camtools.transforms.maps import like_volume

__all__ = ["PatchClassMapsd"]


class PatchClassMapsd(Transform):
    """Class maps of every slice of a volume from overlapping patches, and the pseudo-mask (OEEM, section 2.1).

    Adds three results, each ``(1, X, Y, Z)`` and on ``device``:

    - ``unrefined``: share of the object in the distribution over all classes (the "CAM" of the paper's table 2),
    - ``cam``: share of the object among the classes in the tag of each patch,
    - ``mask``: 1 where the object has the largest share in that second distribution (eq. 2; the "pseudo-mask" of
      table 2).

    Args:
        maps: class maps of slices; its network must be on ``device``.
        target: class of the object.
        image_key: volume ``(C, X, Y, Z)``, prepared as for the training of the classifier.
        tags_key: patch tags, bool ``(Z, N, K)`` (:class:`camtools.data.PatchTagger`). If absent, no class is removed,
            and ``cam`` equals ``unrefined``.
        device: where the maps are computed.
        amp: run the classifier in mixed precision (:func:`camtools.precision.mixed_precision`). The maps are
            float32.

    Raises:
        ValueError: the tags have another number of slices, patches or classes than the volume.
    """

    def __init__(
        self,
        maps: PatchClassMaps,
        target: int = 1,
        image_key: str = "image",
        tags_key: str = "patch_tags",
        device: str | torch.device = "cpu",
        amp: bool = False,
    ) -> None:
        self.maps = maps
        self.amp = amp
        self.target = target
        self.image_key = image_key
        self.tags_key = tags_key
        self.device = torch.device(device)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the maps and the pseudo-mask of one volume."""
        result = dict(data)
        volume = result[self.image_key]
        tags = result.get(self.tags_key)
        slices = volume_to_slices(volume.as_tensor()).to(self.device).contiguous()
        if tags is not None and len(tags) != len(slices):
            raise ValueError(f"Expected patch tags of {len(slices)} slices, found tags of {len(tags)} slices.")
        with mixed_precision(self.device, self.amp):
            scores = self.maps.patch_scores(slices)
        height, width = slices.shape[2:]
        unrefined = self.maps.stitch(scores, height, width)
        shares = self.maps.stitch(scores, height, width, tags)
        mask = (shares.argmax(dim=1, keepdim=True) == self.target).float()
        target = slice(self.target, self.target + 1)
        found = {"unrefined": unrefined[:, target], "cam": shares[:, target], "mask": mask}
        return result | {key: like_volume(slices_to_volume(values), volume) for key, values in found.items()}
