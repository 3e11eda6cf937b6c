"""What scores take from masks: the items that have one, and the threshold that fits them best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from camtools.thresholds import search_dice

__all__ = ["items_with_mask", "searched_threshold"]


def items_with_mask(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that have a mask (``label``), in their order.

    Example:
        >>> items_with_mask([{"image": "a.nii", "label": "b.nii"}, {"image": "c.nii"}])
        [{'image': 'a.nii', 'label': 'b.nii'}]
    """
    return [item for item in items if item.get("label")]


def searched_threshold(maps: Sequence[Tensor], masks: Sequence[Tensor]) -> float:
    """One threshold for maps of several volumes: the best mean Dice, see :func:`camtools.thresholds.search_dice`.

    Args:
        maps: a batch ``(B, 1, H, W)`` in [0, 1] per volume; sizes may differ between volumes.
        masks: a batch of masks per volume, of the same shapes.

    Returns:
        The threshold, in [0, 1].

    Raises:
        ValueError: no slice, other shapes, or maps outside [0, 1].

    Example:
        >>> maps = [torch.full((1, 1, 2, 2), 0.3), torch.full((1, 1, 1, 3), 0.7)]
        >>> searched_threshold(maps, [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 3)])
        0.3
    """
    return search_dice(_one_batch(maps), _one_batch(masks))


def _one_batch(batches: Sequence[Tensor]) -> Tensor:
    """All slices in one batch. Zeros pad the smaller ones, which changes no Dice."""
    height = max((batch.shape[2] for batch in batches), default=0)
    width = max((batch.shape[3] for batch in batches), default=0)
    padded = []
    for batch in batches:
        padded.append(functional.pad(batch, (0, width - batch.shape[3], 0, height - batch.shape[2])))
    return torch.cat(padded)
