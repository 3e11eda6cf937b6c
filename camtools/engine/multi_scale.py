"""Prediction as the mean over sizes and mirror images of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MultiScaleInferer"]


class MultiScaleInferer(Inferer):
    """Mean class probabilities over several sizes and mirror images of the slices.

    Every view is predicted by another inferer, such as ``monai.inferers.SliceInferer`` with windows of the size that
    the network was trained on; its logits are made probabilities, brought back to the slice and averaged.

    Source: OEEM (Li et al., MICCAI 2022), section 2.3: scales 0.75 to 3, windows of 320 pixels every 256.

    Args:
        inferer: predicts one view.
        scales: sizes relative to the slice, each > 0.
        flips: axes, 0 and 1, along which slices are mirrored, one entry a view; ``()`` is the slice as it is.

    Raises:
        ValueError: no scale or one that is not positive, no entry of flips, or an axis other than 0 and 1.

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
            raise ValueError(f"scales must be at least one positive number, got {tuple(scales)}")
        if not flips or not {axis for axes in flips for axis in axes} <= {0, 1}:
            raise ValueError(f"flips must be at least one list of axes, 0 or 1, such as [[], [0]]; got {flips!r}")
        self.inferer = inferer
        self.scales = tuple(scales)
        self.flips = [[axis + 2 for axis in axes] for axes in flips]

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Predict slices ``(B, C, H, W)`` or volumes ``(B, C, H, W, Z)``: probabilities ``(B, K, H, W[, Z])``."""
        total: Tensor | None = None
        for scale in self.scales:
            size = [max(1, round(length * scale)) for length in inputs.shape[2:4]]
            resized = _resize(inputs, size)
            for axes in self.flips:
                logits = self.inferer(resized.flip(axes), network, *args, **kwargs)
                probabilities = _resize(logits.flip(axes).float().softmax(dim=1), inputs.shape[2:4])
                total = probabilities if total is None else total + probabilities
        return torch.as_tensor(total) / (len(self.scales) * len(self.flips))


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, in the plane; the slices of volumes stay apart."""
    if list(images.shape[2:4]) == list(size):
        return images
    if images.ndim == 4:
        return F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)
    slices = images.movedim(-1, 1)
    resized = _resize(slices.flatten(0, 1), size)
    volume: Tensor = resized.unflatten(0, (slices.shape[0], slices.shape[1])).movedim(1, -1)
    return volume
