"""Slices of different sizes in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

__all__ = ["cat_padded"]


def cat_padded(batches: Sequence[Tensor]) -> Tensor:
    """Put batches ``(B, 1, H, W)`` of several sizes into one; zeros pad the smaller ones, which changes no Dice.

    Example:
        >>> cat_padded([torch.ones(2, 1, 3, 4), torch.ones(1, 1, 5, 2)]).shape
        torch.Size([3, 1, 5, 4])
    """
    height, width = (max(batch.shape[axis] for batch in batches) for axis in (2, 3))
    return torch.cat(
        [functional.pad(batch, (0, width - batch.shape[3], 0, height - batch.shape[2])) for batch in batches]
    )
