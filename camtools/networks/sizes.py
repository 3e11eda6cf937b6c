"""Sizes of networks: the smallest images that they take, and the channels of narrower ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["FEWEST_CHANNELS", "check_images", "check_output_stride", "scaled_widths"]

# With 8 channels or fewer, channels last, oneDNN (torch 2.15) crashes in the backward pass of the 1x1 shortcuts.
FEWEST_CHANNELS = 16


def check_images(images: Tensor, smallest: int) -> None:
    """Check that images are ``(B, C, H, W)`` with H and W at least ``smallest``; can be scripted.

    Raises:
        ValueError: they are not.
    """
    if images.dim() != 4 or images.size(2) < smallest or images.size(3) < smallest:
        raise ValueError(f"expected images (B, C, H, W) with H and W at least {smallest}, found shape {images.shape}")


def check_output_stride(output_stride: int) -> None:
    """Check the pixels of the image per position of the deepest features.

    Raises:
        ValueError: it is not 8, 16 or 32.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"expected output_stride 8, 16 or 32, found {output_stride}")


def scaled_widths(channels: Sequence[int], width: float, fewest: int = FEWEST_CHANNELS) -> list[int]:
    """Multiply channel counts by a factor and round, but keep at least ``fewest``.

    Raises:
        ValueError: a width that is not positive.

    Example:
        >>> scaled_widths((64, 128, 256), width=0.125)
        [16, 16, 32]
    """
    if width <= 0:
        raise ValueError(f"expected a positive width (factor on the channel counts), found {width}")
    return [max(fewest, round(count * width)) for count in channels]
