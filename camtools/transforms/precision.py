"""Mixed precision of networks that are not being trained."""

from __future__ import annotations

import torch

__all__ = ["mixed_precision"]


def mixed_precision(device: torch.device, enabled: bool) -> torch.autocast:
    """Autocast to bfloat16, on every device.

    bfloat16 has the range of float32: the gradients of activation maps, which are small and not scaled, could fall
    below the range of float16.

    Example:
        >>> with mixed_precision(torch.device("cpu"), enabled=True):
        ...     torch.ones(2, 2).mm(torch.ones(2, 2)).dtype
        torch.bfloat16
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
