"""Prediction averaged over sizes and mirror images of the input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MultiScaleInferer"]


class MultiScaleInferer(Inferer):
    """Mean class probabilities over several sizes and mirror images of the slices.

    Another inferer predicts each view, for example ``monai.inferers.SliceInferer`` with windows of the training size.
    The logits become probabilities, which are resampled to the slice and averaged.

    Source: OEEM (Li et al., MICCAI 2022), section 2.3: scales 0.75 to 3, windows of 320 pixels every 256.

    Args:
        inferer: predicts one view.
        scales: sizes relative to the slice, each > 0.
        flips: axes, 0 and 1, along which slices are mirrored, one entry per view; ``()`` is the slice itself.

    Raises:
        ValueError: ``scales`` or ``flips`` is empty, a scale is not positive, or an axis is not 0 or 1.

    Example:
        >>> import torch
        >>> from monai.inferers import SimpleInferer
        >>> inferer = MultiScaleInferer(SimpleInferer(), scales=[0.5, 1.0])
        >>> inferer(torch.zeros(1, 2, 8, 8), torch.nn.Identity())[0, :, 0, 0]
        tensor([0.5000, 0.5000])
    """

    def __init__(
        self,
        inferer: Inferer,
        scales: Sequence[float] = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0),
        flips: Sequence[Sequence[int]] = ((), (0,), (1,)),
    ) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"Expected scales to be one or more positive numbers, found {tuple(scales)}.")
        if not flips or not set(chain.from_iterable(flips)) <= {0, 1}:
            raise ValueError(
                f"Expected flips to be one or more lists of axes, 0 or 1, found {flips!r}. Give for example [[], [0]]."
            )
        self.inferer = inferer
        self.scales = tuple(scales)
        self.flips = [tuple(flip) for flip in flips]

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Predict slices ``(B, C, H, W)`` or volumes ``(B, C, H, W, Z)``: probabilities ``(B, K, H, W[, Z])``."""
        total: Tensor | None = None
        for scale in self.scales:
            size = [max(1, round(length * scale)) for length in inputs.shape[2:4]]
            resized = _resize(inputs, size)
            for flip in self.flips:
                axes = [axis + 2 for axis in flip]
                logits = self.inferer(resized.flip(axes), network, *args, **kwargs)
                probabilities = _resize(logits.flip(axes).float().softmax(dim=1), inputs.shape[2:4])
                total = probabilities if total is None else total + probabilities
        return torch.as_tensor(total) / (len(self.scales) * len(self.flips))


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize in the plane, bilinearly. The slices of a volume are not mixed."""
    if list(images.shape[2:4]) == list(size):
        return images
    if images.ndim == 4:
        return F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)
    slices = images.movedim(-1, 1)
    resized = _resize(slices.flatten(0, 1), size)
    volume: Tensor = resized.unflatten(0, (slices.shape[0], slices.shape[1])).movedim(1, -1)
    return volume
