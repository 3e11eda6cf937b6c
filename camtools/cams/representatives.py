"""A few channels that stand for all: those whose masks cover the masks of the others best."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["representative_channels"]


def representative_channels(activations: Tensor, ranges: tuple[Tensor, Tensor], share: float) -> tuple[Tensor, Tensor]:
    """Choose channels whose masks lie near those of all channels, farthest point first (Gonzalez, 1985).

    The distance of two channels is the mean absolute difference of their masks at the resolution of the layer. Every
    step takes the channel that is farthest from those taken; the largest distance that remains is at most twice that of
    the best choice of as many channels.

    Args:
        activations: ``(B, K, *spatial of the layer)``.
        ranges: of the channels, see :func:`camtools.cams.masks.channel_ranges`.
        share: share of the channels to choose, in (0, 1]; rounded up.

    Returns:
        Indices of the chosen channels ``(B, S)``, and for every channel the position ``(B, K)`` in these of the one
        that is nearest.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 3.0]]]])
        >>> ranges = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 3.0]])
        >>> representative_channels(activations, ranges, share=0.6)
        (tensor([[0, 1]]), tensor([[0, 1, 0]]))
    """
    lowest, span = (values[..., None] for values in ranges)
    masks = (activations.flatten(2).to(lowest.dtype) - lowest) / span
    distances = torch.cdist(masks, masks, p=1)
    count = -int(-share * masks.shape[1] // 1)
    chosen = torch.zeros((len(masks), count), dtype=torch.int64, device=masks.device)
    chosen[:, 0] = distances.sum(dim=2).argmin(dim=1)
    rows = torch.arange(len(masks), device=masks.device)
    remaining = distances[rows, chosen[:, 0]]
    for step in range(1, count):
        chosen[:, step] = remaining.argmax(dim=1)
        remaining = torch.minimum(remaining, distances[rows, chosen[:, step]])
    return chosen, distances[rows[:, None], chosen].argmin(dim=1)
