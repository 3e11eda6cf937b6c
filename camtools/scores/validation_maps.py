"""Maps of the slices that show the object, volume by volume, for any number of methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from torch import Tensor
from tqdm import tqdm

from camtools.data.case_names import case_name
from camtools.data.channels import shown_channels
from camtools.data.geometry import SliceAxis, volume_to_slices
from camtools.data.tags import slice_tags
from camtools.data.volumes import check_same_geometry, read_mask, read_volume
from camtools.fusion import normalize_max, normalize_min_max
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.map_methods import Cam, is_probability, summed_maps
from camtools.transforms import SliceAxisLastd

__all__ = ["MappedSlices", "ObjectSlices", "mapped_slices", "object_slices"]


@dataclass(frozen=True)
class ObjectSlices:
    """The slices of one volume that show the object, at the prepared resolution: what the classifier sees.

    Attributes:
        case: name of the volume.
        path: its file.
        indices: slice of each along the slice axis of the file.
        masks: bool ``(B, 1, H, W)``, nearest-neighbour resampled with the image, none empty.
        shown: the middle one of the slices, a position in ``indices``.
        picture: ``(H, W)``, the image of that slice (mean over channels).
    """

    case: str
    path: str
    indices: tuple[int, ...]
    masks: Tensor
    shown: int
    picture: Tensor


@dataclass(frozen=True)
class MappedSlices:
    """Maps of one method on the slices of one volume, on the CPU.

    Attributes:
        method: name of the method.
        slices: the slices and their masks.
        images: ``(B, C, H, W)``, what the classifier sees, shared by all methods.
        summed: ``(B, 1, H, W)`` float32, >= 0, as the method gives them.
        calibrated: whether ``summed`` are probabilities already, see
            :func:`camtools.scores.map_methods.is_probability`.
    """

    method: str
    slices: ObjectSlices
    images: Tensor
    summed: Tensor
    calibrated: bool = False

    @property
    def maps(self) -> Tensor:
        """Each map divided by its maximum, ``(B, 1, H, W)`` in [0, 1]; a map of zeros stays zero."""
        return normalize_max(self.summed)

    @property
    def probabilities(self) -> Tensor:
        """Maps ``(B, 1, H, W)`` in [0, 1] as probabilities of the object: as they are, or min-max scaled."""
        return self.summed if self.calibrated else normalize_min_max(self.summed)


def object_slices(classifier: TrainedClassifier, item: dict[str, Any]) -> tuple[ObjectSlices, Tensor] | None:
    """Prepare one volume as the classifier was trained on it and keep the slices that show the object.

    The mask is brought onto the pixels of the prepared image by nearest-neighbour resampling. A slice shows the object
    when it is tagged so (:func:`camtools.data.slice_tags`) and its resampled mask is not empty (a few pixels may
    vanish).

    Returns:
        The slices and their images ``(B, C, H, W)`` on the CPU; None when no slice shows the object.

    Raises:
        DataError: a file that cannot be used, or a mask that does not lie on its image.
    """
    tags = slice_tags(item, classifier.min_area_fraction, classifier.slice_axis)
    mask = read_mask(item["label"])
    check_same_geometry(read_volume(item["image"]), mask, item["image"], item["label"])
    prepared = classifier.prepare({"image": item["image"]})["image"]
    images = volume_to_slices(prepared.as_tensor())
    masks = volume_to_slices(_resampled(mask, prepared, classifier.slice_axis)) > 0.5
    positive = np.flatnonzero(np.asarray(tags) * masks.flatten(1).any(dim=1).numpy())
    if len(positive) == 0:
        return None
    chosen = images[positive].contiguous()
    shown = len(positive) // 2
    picture = shown_channels(chosen[shown]).mean(dim=0)
    indices = tuple(int(index) for index in positive)
    slices = ObjectSlices(case_name(item), str(item["image"]), indices, masks[positive].contiguous(), shown, picture)
    return slices, chosen


def mapped_slices(
    classifier: TrainedClassifier, cams: Mapping[str, Cam], split: str, target: int = 1
) -> Iterator[MappedSlices]:
    """Maps of every method on every volume of a split, with a progress bar that moves after each of them.

    A volume is loaded and prepared once for all methods, and each method sees all its slices at once. One volume and
    the maps of one method are in memory at a time, unless the caller keeps them.

    Args:
        classifier: trained classifier and its data.
        cams: CAM objects by name, on the classifier's network.
        split: name of the split; items without a mask are skipped.
        target: class of the object.

    Yields:
        The maps of all methods of one volume, then of the next volume.

    Raises:
        ValueError: see :meth:`camtools.scores.classifier.TrainedClassifier.masked_items`; or no slice shows the object.
    """
    found = False
    items = classifier.masked_items(split)
    with tqdm(total=len(items) * len(cams), desc=f"maps ({split})", unit="volume and method", disable=None) as bar:
        for item in items:
            prepared = object_slices(classifier, item)
            if prepared is None:
                bar.update(len(cams))
                continue
            found = True
            slices, images = prepared
            moved = images.to(classifier.device)
            for method, cam in cams.items():
                bar.set_postfix_str(f"{slices.case}, {method}")
                summed = summed_maps(cam, moved, target).cpu()
                bar.update()
                yield MappedSlices(method, slices, images, summed, is_probability(cam))
    if not found:
        raise ValueError(
            f"Split '{split}': expected slices that show the object, found none to score. Check its masks."
        )


def _resampled(mask: MetaTensor, image: MetaTensor, slice_axis: SliceAxis) -> Tensor:
    turned = SliceAxisLastd("label", slice_axis)({"label": mask})["label"]
    resample = SpatialResample(mode="nearest", padding_mode="border", dtype=torch.float32)
    moved = resample(turned, dst_affine=image.affine, spatial_size=tuple(image.shape[1:]))
    return torch.as_tensor(moved).as_subclass(Tensor)
