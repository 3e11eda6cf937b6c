"""The smallest images that a network takes."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_images"]


def check_images(images: Tensor, smallest: int) -> None:
    """Check that images are ``(B, C, H, W)`` with H and W at least ``smallest``; can be scripted.

    Raises:
        ValueError: they are not.
    """
    if images.dim() != 4 or images.size(2) < smallest or images.size(3) < smallest:
        raise ValueError(f"images must be (B, C, H, W) with H and W at least {smallest}, got shape {images.shape}")
