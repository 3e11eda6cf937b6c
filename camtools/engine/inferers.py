"""How a network is run in training, beside MONAI's own inferers."""

from __future__ import annotations

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
    """Resize each batch by a random factor first, so that a classifier learns to judge images of several sizes.

    Whole images are resized (bilinearly): nothing is cropped, so the tag of an image stays true. The factor is drawn
    from torch's generator, uniformly in its logarithm, and the same for all images of a batch.

    Args:
        smallest: least factor, > 0.
        largest: greatest factor; equal to ``smallest``, every batch has that size.

    Raises:
        ValueError: factors that are not positive, or in the wrong order.

    Example:
        >>> import torch
        >>> inferer = RandomSizeInferer(2.0, 2.0)
        >>> inferer(torch.zeros(4, 1, 8, 8), network=torch.nn.Identity()).shape
        torch.Size([4, 1, 16, 16])
    """

    def __init__(self, smallest: float = 1.0, largest: float = 2.0) -> None:
        super().__init__()
        if not 0 < smallest <= largest:
            raise ValueError(f"expected 0 < smallest <= largest, got smallest={smallest} and largest={largest}")
        self.smallest = smallest
        self.largest = largest

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run the network on a resized batch ``(B, C, H, W)``."""
        factor = self.smallest * (self.largest / self.smallest) ** float(torch.rand(()))
        size = [max(1, round(length * factor)) for length in inputs.shape[2:]]
        output: Tensor = network(F.interpolate(inputs, size=size, mode="bilinear"), *args, **kwargs)
        return output
