"""Batches of samples. Slices of different sizes share a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import default_collate

from camtools.data.errors import DataError

__all__ = ["collate_on_canvas", "collate_same_size"]

PIXEL_KEYS = ("image", "label")


def collate_same_size(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples whose images have one size.

    Raises:
        DataError: the images have different sizes.
    """
    sizes = sorted({tuple(sample["image"].shape) for sample in samples})
    if len(sizes) > 1:
        raise DataError(
            f"Expected images of one size in a batch, found {sizes[0]} and {sizes[-1]}. Crop or resize them in the "
            "'transform' of the dataset, or give it an 'augmentation' that does."
        )
    batch: dict[str, Any] = default_collate(list(samples))
    return batch


def collate_on_canvas(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of different sizes, with zeros behind the last row and column of the smaller ones.

    Returns:
        The batch, with ``frame (B, 2)``, the height and width of each sample.

    Example:
        >>> batch = collate_on_canvas([{"image": torch.ones(1, 2, 4)}, {"image": torch.ones(1, 3, 3)}])
        >>> tuple(batch["image"].shape), batch["frame"].tolist()
        ((2, 1, 3, 4), [[2, 4], [3, 3]])
    """
    frames = torch.tensor([sample["image"].shape[-2:] for sample in samples])
    height, width = frames.amax(dim=0).tolist()
    padded = []
    for sample in samples:
        copy = dict(sample)
        for key in PIXEL_KEYS:
            value = sample.get(key)
            if isinstance(value, torch.Tensor) and value.ndim >= 3:
                copy[key] = _on_canvas(value, height, width)
        padded.append(copy)
    batch: dict[str, Any] = default_collate(padded)
    return batch | {"frame": frames}


def _on_canvas(value: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if value.shape[-2:] == (height, width):
        return value
    canvas = value.new_zeros(*value.shape[:-2], height, width)
    canvas[..., : value.shape[-2], : value.shape[-1]] = value
    return canvas
