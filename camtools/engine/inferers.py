"""Inferers for training that MONAI does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor
from torch.nn import functional as F

from camtools.precision import mixed_precision

__all__ = ["HalfPrecisionInferer", "RandomSizeInferer"]


class HalfPrecisionInferer(Inferer):
    """Run a network under bfloat16 autocast on the CPU. MONAI's trainer offers autocast only on GPUs.

    The output is float32. bfloat16 has the range of float32, so gradients need no scaling. On a processor that does not
    compute in bfloat16 (:func:`camtools.precision.computes_in`), the network runs in float32.

    Args:
        inferer: how the network is run; None calls it directly.
    """

    def __init__(self, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.inferer = inferer or SimpleInferer()

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run the network on a batch."""
        with mixed_precision(inputs.device, enabled=True):
            output: Tensor = self.inferer(inputs, network, *args, **kwargs)
        return output.float()


class RandomSizeInferer(Inferer):
    """Resize each batch by a random factor, so that a classifier learns to classify images of several sizes.

    Whole images are resized bilinearly. Nothing is cropped, so the tag of an image stays correct. All images of a batch
    have the same factor, drawn from torch's generator. The factors are a short list and not a range, so that the
    memory allocator can reuse blocks of the same size.

    Args:
        factors: sizes relative to the input size, each > 0 and equally likely.

    Raises:
        ValueError: ``factors`` is empty or has a factor that is not positive.

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
                f"Expected factors to be one or more positive numbers, found {tuple(factors)}. Give [1.0] to resize "
                "nothing."
            )
        self.factors = tuple(factors)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run the network on a resized batch ``(B, C, H, W)``."""
        factor = self.factors[int(torch.randint(len(self.factors), ()))]
        size = [max(1, round(length * factor)) for length in inputs.shape[2:]]
        output: Tensor = network(F.interpolate(inputs, size=size, mode="bilinear"), *args, **kwargs)
        return output
