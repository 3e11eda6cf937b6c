"""How a network is run in training, beside MONAI's own inferers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HalfPrecisionInferer", "RandomSizeInferer"]


class HalfPrecisionInferer(Inferer):
    """Run a network under bfloat16 autocast on the CPU, which MONAI's trainer offers on GPUs alone.

    The output is float32. bfloat16 has the range of float32, so gradients need no scaling.

    Args:
        inferer: how the network is run; None calls it.
    """

    def __init__(self, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.inferer = inferer or SimpleInferer()

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run the network on a batch."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output: Tensor = self.inferer(inputs, network, *args, **kwargs)
        return output.float()


class RandomSizeInferer(Inferer):
    """Resize each batch by a factor drawn from a few, so that a classifier learns to judge images of several sizes.

    Whole images are resized (bilinearly): nothing is cropped, so the tag of an image stays true. All images of a batch
    have the same factor. It is drawn from torch's generator; a few factors, not a range, so that memory of the same
    sizes is asked for again and again.

    Args:
        factors: sizes relative to the images' own, each > 0 and equally likely.

    Raises:
        ValueError: no factor, or one that is not positive.

    Example:
        >>> import torch
        >>> inferer = RandomSizeInferer([2.0])
        >>> inferer(torch.zeros(4, 1, 8, 8), network=torch.nn.Identity()).shape
        torch.Size([4, 1, 16, 16])
    """

    def __init__(self, factors: Sequence[float] = (1.0, 1.5, 2.0)) -> None:
        super().__init__()
        if not factors or min(factors) <= 0:
            raise ValueError(
                f"factors must be at least one positive number, got {tuple(factors)}; [1.0] resizes nothing"
            )
        self.factors = tuple(factors)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run the network on a resized batch ``(B, C, H, W)``."""
        factor = self.factors[int(torch.randint(len(self.factors), ()))]
        size = [max(1, round(length * factor)) for length in inputs.shape[2:]]
        output: Tensor = network(F.interpolate(inputs, size=size, mode="bilinear"), *args, **kwargs)
        return output
