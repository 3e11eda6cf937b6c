"""Where a network lives and how its weights lie in memory."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["place_network"]


def place_network(network: nn.Module, device: torch.device | str, channels_last: bool | None = None) -> nn.Module:
    """Move a network, in place, and set the memory format of its weights, which its convolutions follow.

    Images need not be converted. The results differ by rounding alone, and checkpoints load either way.

    Args:
        network: 2D network.
        device: where it is moved.
        channels_last: True: ``torch.channels_last``; False: ``torch.contiguous_format``; None: as the network is (those
            of :mod:`camtools.networks` are channels last).

    Returns:
        The network itself.

    Example:
        >>> network = place_network(nn.Conv2d(2, 3, 3), "cpu", channels_last=True)
        >>> network.weight.stride()
        (18, 1, 6, 2)
    """
    if channels_last is None:
        return network.to(device)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return network.to(device).to(memory_format=memory_format)
