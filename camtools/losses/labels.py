"""Labels of pixels in one form: hard classes with ignored pixels, or soft labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_shares"]


def class_shares(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> tuple[Tensor, Tensor]:
    """Share of every class in the label of every pixel, and which pixels count.

    Args:
        logits: ``(B, K, *spatial)``, which give K and the type of the result.
        labels: integer classes ``(B, 1, *spatial)``, 0 to K - 1 or ``ignore_index``; or soft labels
            ``(B, K, *spatial)``, floating, in [0, 1], summing to 1 over K.
        ignore_index: integer label of pixels that do not count.

    Returns:
        Shares ``(B, K, *spatial)``, 0 for ignored pixels, in at least float32; and bool ``(B, *spatial)``.

    Raises:
        ValueError: shapes that do not match, or an integer label that is no class.

    Example:
        >>> shares, counts = class_shares(torch.zeros(1, 2, 3), torch.tensor([[[0, 1, 255]]]))
        >>> shares.tolist(), counts.tolist()
        ([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], [[True, True, False]])
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if labels.is_floating_point() and labels.shape == logits.shape:
        return labels.to(dtype), torch.ones_like(labels[:, 0], dtype=torch.bool)
    if labels.is_floating_point() or labels.shape != (len(logits), 1, *logits.shape[2:]):
        raise ValueError(
            "Expected integer labels (B, 1, *spatial) or soft labels (B, K, *spatial) for logits (B, K, *spatial), "
            f"found labels {tuple(labels.shape)} of {labels.dtype} and logits {tuple(logits.shape)}. Cast hard labels "
            "with labels.long()."
        )
    classes = labels[:, 0].long()
    counts = classes != ignore_index
    wrong = classes[counts & ((classes < 0) | (classes >= logits.shape[1]))]
    if len(wrong):
        raise ValueError(
            f"Expected labels from 0 to {logits.shape[1] - 1}, or {ignore_index} for pixels to ignore, found "
            f"{int(wrong[0])}. Correct the labels."
        )
    shares = F.one_hot(classes.masked_fill(~counts, 0), logits.shape[1]).movedim(-1, 1)
    return shares.to(dtype) * counts[:, None], counts
