"""Normalisation layers of the networks, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FrozenBatchNorm2d", "Norm", "NormName", "group_norm", "norm_layer"]

Norm = Callable[[int], nn.Module]
NormName = Literal["batch", "frozen", "group"]
"""Names that the networks accept; VGG16CAM has its own list, with None."""
GROUP_SIZE = 16


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with its running statistics in either mode, whose weight and bias do not train.

    Its parameters and buffers have the names and shapes of :class:`torch.nn.BatchNorm2d`. It stays frozen in every
    network that contains it, scripted or not, and ``train()`` does not change that.

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
    """Group normalisation in groups of 16 channels, or larger groups where 16 does not divide their number.

    It has no batch statistics: each image is normalised separately, in the same way in training and evaluation.

    Source: Wu and He, Group Normalization, ECCV 2018.

    Example:
        >>> group_norm(64).num_groups, group_norm(40).num_groups
        (4, 2)
    """
    return nn.GroupNorm(math.gcd(channels, max(1, channels // GROUP_SIZE)), channels)


def norm_layer(name: str, allowed: Sequence[str] = get_args(NormName)) -> Norm:
    """Find a normalisation layer by its name.

    Args:
        name: ``"batch"`` (:class:`torch.nn.BatchNorm2d`), ``"frozen"`` (:class:`FrozenBatchNorm2d`), ``"group"``
            (:func:`group_norm`) or ``"instance"`` (:class:`torch.nn.InstanceNorm2d` with weight and bias).
        allowed: names that the network accepts.

    Returns:
        Function from the number of channels to the layer.

    Raises:
        ValueError: a name that is not allowed.

    Example:
        >>> norm_layer("group")(32)
        GroupNorm(2, 32, eps=1e-05, affine=True, bias=True)
    """
    layers: dict[str, Norm] = {
        "batch": nn.BatchNorm2d,
        "frozen": FrozenBatchNorm2d,
        "group": group_norm,
        "instance": partial(nn.InstanceNorm2d, affine=True),
    }
    if name not in allowed:
        raise ValueError(f"expected norm to be one of {', '.join(allowed)}, found {name!r}")
    return layers[name]
