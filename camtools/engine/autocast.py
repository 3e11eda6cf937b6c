"""Mixed precision on a CPU, which MONAI's trainer offers on GPUs alone."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

__all__ = ["HalfPrecisionInferer"]


class HalfPrecisionInferer(Inferer):
    """Run a network under bfloat16 autocast on the CPU; its output is float32.

    bfloat16 has the range of float32, so gradients need no scaling.

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
