"""What scores take from masks: the items that have one, and the search of the threshold that fits them best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from camtools.data.geometry import SliceAxis, slice_axis_of
from camtools.data.slice_dataset import pseudo_label_files
from camtools.data.volumes import read_mask, read_volume
from camtools.thresholds import DiceSearch

__all__ = ["items_with_mask", "search_threshold", "stacked_with_mask"]


def items_with_mask(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that have a mask (``label``), in their order.

    Example:
        >>> items_with_mask([{"image": "a.nii", "label": "b.nii"}, {"image": "c.nii"}])
        [{'image': 'a.nii', 'label': 'b.nii'}]
    """
    return [item for item in items if item.get("label")]


def stacked_with_mask(path: str | Path, item: dict[str, Any], slice_axis: SliceAxis) -> tuple[Tensor, Tensor]:
    """A volume on the voxels of an item's file and the item's mask, with the slices along the last axis.

    Args:
        path: file of the volume, such as an activation map.
        item: volume item with a mask.
        slice_axis: decision for the dataset (:func:`camtools.data.dataset_slice_axis`).

    Returns:
        Values ``(X, Y, Z)`` float32 and mask ``(X, Y, Z)`` bool.

    Raises:
        DataError: a file cannot be read.
    """
    volume, mask = read_volume(path), read_mask(item["label"])
    axis = slice_axis_of(volume, slice_axis)
    truth = torch.as_tensor(mask.as_tensor()[0] > 0.5)
    return volume.as_tensor()[0].movedim(axis, -1), truth.movedim(axis, -1)


def search_threshold(
    folder: str | Path, items: Sequence[dict[str, Any]], slice_axis: SliceAxis
) -> tuple[float, DiceSearch] | None:
    """One threshold for the fused maps of validation volumes: the best mean Dice over the slices with the object.

    This is the grid search of the UM-CAM paper, table 1 (:func:`camtools.thresholds.search_dice`). It reads pixel
    masks, so give it validation items alone. One volume at a time is in memory.

    Args:
        folder: folder of the maps ``<case>_cam.nii.gz``, in [0, 1].
        items: validation items with masks.
        slice_axis: decision for the dataset.

    Returns:
        The threshold, in [0, 1], and the search that found it. None if no mask shows the object.

    Raises:
        DataError: a file cannot be read.
        ValueError: maps outside [0, 1], or of another shape than the mask.
    """
    search = DiceSearch()
    shown = 0
    for item in tqdm(items, desc="threshold", unit="volume", disable=None):
        cam, mask = stacked_with_mask(pseudo_label_files(folder, item)["cam"], item, slice_axis)
        positive = mask.flatten(0, 1).any(0)
        shown += int(positive.sum())
        maps, masks = cam[..., positive].movedim(-1, 0), mask[..., positive].movedim(-1, 0)
        search.add(maps[:, None].contiguous(), masks[:, None].contiguous())
    return (search.best(), search) if shown else None
