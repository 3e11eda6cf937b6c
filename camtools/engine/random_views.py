"""Two predictions of every image, each in a random view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor
from torch.nn import functional as F

__all__ = ["RandomViewInferer"]


class RandomViewInferer(Inferer):
    """Run a segmenter on two random views of each batch, and bring both predictions back to the pixels of the images.

    A view is drawn from torch's generator for the whole batch, with equal chances: resized by one of ``factors`` along
    the height, the width or both; or turned by one of ``turns``. Sizes are rounded up to a multiple of ``multiple``.
    They do not fall below ``smallest``, unless the image is smaller.
    Losses: :class:`camtools.losses.RandomViewConsensusLoss`, :class:`camtools.losses.EachViewLoss`.

    Source: Random-View Consensus in the journal version of UM-CAM (Fu et al., Pattern Recognition 160, 2025).

    Args:
        factors: sizes relative to the input size, each > 0.
        turns: degrees, each 90, 180 or 270.
        multiple: pixels; 16 fits a U-Net with five levels.
        smallest: pixels; 32 leave two pixels at the lowest of five levels, which instance normalisation needs.
        inferer: how the network is run; None calls it directly.

    Raises:
        ValueError: an argument outside its range, or no view.

    Example:
        >>> inferer = RandomViewInferer()
        >>> inferer(torch.zeros(3, 1, 32, 48), network=torch.nn.Conv2d(1, 2, 1)).shape
        torch.Size([3, 2, 2, 32, 48])
    """

    def __init__(
        self,
        factors: Sequence[float] = (0.5, 0.75, 1.0, 1.5),
        turns: Sequence[int] = (90, 180),
        multiple: int = 16,
        smallest: int = 32,
        inferer: Inferer | None = None,
    ) -> None:
        super().__init__()
        if min(factors, default=1.0) <= 0 or not set(turns) <= {90, 180, 270} or not (factors or turns):
            raise ValueError(
                "Expected factors above 0 and turns of 90, 180 or 270 degrees, at least one of them, found "
                f"{tuple(factors)} and {tuple(turns)}. Give for example factors [1.0] and no turns to change nothing."
            )
        if multiple < 1 or smallest < 1:
            raise ValueError(
                f"Expected multiple and smallest to be at least 1 pixel, found {multiple} and {smallest}. Give 1 for "
                "any size."
            )
        self.multiple = multiple
        self.smallest = smallest
        self.inferer = inferer or SimpleInferer()
        self.views: list[tuple[float, float, int]] = [(1.0, 1.0, turn // 90) for turn in turns]
        for factor in factors:
            self.views += [(factor, 1.0, 0), (1.0, factor, 0), (factor, factor, 0)]

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Predict images ``(B, C, H, W)`` twice.

        Returns:
            Logits of the two views, ``(B, 2, *, H, W)`` for a network with output ``(B, *, H, W)``.
        """
        predictions = []
        for _ in range(2):
            height, width, quarters = self.views[int(torch.randint(len(self.views), ()))]
            size = [self._size(inputs.shape[2], height), self._size(inputs.shape[3], width)]
            view = torch.rot90(_resized(inputs, size), quarters, (-2, -1))
            logits = self.inferer(view, network, *args, **kwargs)
            turned_back = torch.rot90(logits, -quarters, (-2, -1))
            predictions.append(_resized(turned_back, inputs.shape[2:]))
        return torch.stack(predictions, dim=1)

    def _size(self, length: int, factor: float) -> int:
        if factor == 1:
            return length
        multiples = max(1, math.ceil(round(length * factor) / self.multiple))
        return max(multiples * self.multiple, min(self.smallest, length))


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the last two axes bilinearly; other axes are kept."""
    if list(images.shape[-2:]) == list(size):
        return images
    # antialiasing does not exist for bfloat16 and float16 on every device
    flat = images.flatten(1, -3).to(torch.promote_types(images.dtype, torch.float32))
    resized = F.interpolate(flat, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return resized.reshape(*images.shape[:-2], *size)
