"""Checks of masks and spacings that all metrics share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.utils import convert_to_tensor
from torch import Tensor

__all__ = ["check_same_shape", "checked_masks", "checked_spacing"]


def check_same_shape(prediction: Tensor, truth: Tensor) -> None:
    """Check that prediction and truth have the same shape."""
    if prediction.shape != truth.shape:
        raise ValueError(
            f"Expected prediction and truth of the same shape, found {tuple(prediction.shape)} and "
            f"{tuple(truth.shape)}; resample the prediction to the grid of the truth."
        )


def checked_masks(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both masks as plain bool tensors, after a check of their shapes and values (0 and 1)."""
    check_same_shape(prediction, truth)
    return _checked_mask(prediction, "prediction"), _checked_mask(truth, "truth")


def _checked_mask(mask: Tensor, name: str) -> Tensor:
    if mask.ndim not in (4, 5) or mask.shape[1] != 1 or mask.numel() == 0:
        raise ValueError(
            f"{name}: expected masks of shape (B, 1, H, W) or (B, 1, X, Y, Z), found {tuple(mask.shape)}; "
            "add missing axes with mask[None, None], and pass one class at a time."
        )
    # MONAI's metrics are much slower on MetaTensors, and would return one.
    plain: Tensor = convert_to_tensor(mask, track_meta=False)
    other = plain[(plain != 0) & (plain != 1)]
    if len(other) > 0:
        raise ValueError(
            f"{name}: expected a mask of 0 and 1, found the value {other[0].item():g}; threshold it first (mask > 0.5)."
        )
    return plain.bool()


def checked_spacing(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """One positive pixel size per axis; 1 for each where the spacing is None."""
    if spacing is None:
        return (1.0,) * axes
    steps = tuple(float(step) for step in spacing)
    if len(steps) != axes or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ValueError(
            f"spacing: expected {axes} positive numbers of mm, one per spatial axis, found {steps}; "
            "read it from the affine of the image, or pass None to measure in pixels."
        )
    return steps
