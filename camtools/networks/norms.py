"""Normalisation layers of the networks, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FrozenBatchNorm2d", "Norm", "NormName", "group_norm", "norm_layer"]

Norm = Callable[[int], nn.Module]
NormName = Literal["batch", "frozen", "group"]
GROUP_SIZE = 16


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with its running statistics in either mode, whose weight and bias do not train.

    Names and shapes of parameters and buffers are those of :class:`torch.nn.BatchNorm2d`. It stays frozen within any
    network that takes it over, also a scripted one, whatever ``train()`` is called on.

    Args:
        num_features: channels.

    Example:
        >>> import torch
        >>> norm = FrozenBatchNorm2d(2).train()
        >>> images = norm(torch.ones(4, 2, 8, 8))
        >>> norm.running_mean
        tensor([0., 0.])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in groups of 16 channels, or more where 16 does not divide their number.

    It has no statistics of a batch: images are normalised alike in training and evaluation, one by one.

    Source: Wu and He, Group Normalization, ECCV 2018.

    Example:
        >>> group_norm(64).num_groups, group_norm(40).num_groups
        (4, 2)
    """
    return nn.GroupNorm(math.gcd(channels, max(1, channels // GROUP_SIZE)), channels)


def norm_layer(name: NormName) -> Norm:
    """Normalisation by name: ``"batch"``, ``"frozen"`` (:class:`FrozenBatchNorm2d`) or ``"group"``.

    Returns:
        From channels to the layer.

    Raises:
        ValueError: another name.
    """
    layers: dict[str, Norm] = {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm2d, "group": group_norm}
    if name not in layers:
        raise ValueError(f"norm must be one of {', '.join(get_args(NormName))}, got {name!r}")
    return layers[name]
