"""What scores take from masks: the items that have one, and the threshold that fits them best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from camtools.thresholds import DiceSearch

__all__ = ["items_with_mask", "searched_threshold"]


def items_with_mask(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that have a mask (``label``), in their order.

    Example:
        >>> items_with_mask([{"image": "a.nii", "label": "b.nii"}, {"image": "c.nii"}])
        [{'image': 'a.nii', 'label': 'b.nii'}]
    """
    return [item for item in items if item.get("label")]


def searched_threshold(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """One threshold for maps of several volumes: the best mean Dice, see :func:`camtools.thresholds.search_dice`.

    Args:
        pairs: maps ``(B, 1, H, W)`` in [0, 1] of a volume and their masks, of the same shape. Sizes may differ between
            volumes, of which one at a time is in memory.

    Returns:
        The threshold, in [0, 1].

    Raises:
        ValueError: no slice, other shapes, or maps outside [0, 1].

    Example:
        >>> import torch
        >>> maps = [torch.full((1, 1, 2, 2), 0.3), torch.full((1, 1, 1, 3), 0.7)]
        >>> searched_threshold(zip(maps, [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 3)], strict=True))
        0.3
    """
    search = DiceSearch()
    for one, truth in pairs:
        search.add(one, truth)
    return search.best()
