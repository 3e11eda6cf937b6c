"""Normalisation layers of the networks, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FrozenBatchNorm2d", "Norm", "NormName", "fast_instance_norm", "group_norm", "norm_layer"]

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


@contextmanager
def fast_instance_norm(network: nn.Module) -> Iterator[None]:
    """Run a network with instance normalisation in channels-last format on the CPU, without gradients.

    torch computes ``InstanceNorm2d`` by copying each image to the default format. Within this context, every such layer
    normalises each image as a batch of its own (batch normalisation of one image is instance normalisation), and the
    weights of the convolutions lie in channels-last format. Outputs differ by rounding: logits by up to 1.4e-3 of 5 in
    tests with real slices. Nearly blank images go through the layer itself, since their small variance would scale
    the rounding error. ``GroupNorm(C, C)`` would be
    slightly faster, but torch computes its variance as the difference of two large numbers in this format: for channels
    of mean 20 and standard deviation 0.1, the error is as large as the result.

    Afterwards, the network is as it was, with the same tensors in the same memory. Weights that change within the
    context are lost: it is not for training. Networks on another device, and
    networks without ``InstanceNorm2d``, are left alone, also within the context.

    Args:
        network: 2D network.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4))
        >>> with fast_instance_norm(network), torch.no_grad():
        ...     network(torch.rand(2, 1, 8, 8)).is_contiguous(memory_format=torch.channels_last)
        True
    """
    instance_norms = [module for module in network.modules() if type(module) is nn.InstanceNorm2d]
    norms = [norm for norm in instance_norms if not norm.track_running_stats and "forward" not in vars(norm)]
    weights = [weight for weight in network.parameters() if weight.ndim == 4 and norms and weight.device.type == "cpu"]
    before = [weight.data for weight in weights]
    for norm in norms:
        norm.forward = partial(_normalise_images, norm)  # type: ignore[method-assign]
    for weight in weights:
        # not contiguous(): it leaves the weights of an image with one channel, which then decide for the first layers
        weight.data = torch.empty_like(weight.data, memory_format=torch.channels_last).copy_(weight.data)
    try:
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward", None)
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def _looks_constant(image: Tensor) -> bool:
    """Whether nine tenths of a grid of pixels equal its first one, as in the first layers on a blank slice."""
    height, width = image.shape[2:]
    grid = image[0, :, height // 16 :: max(1, height // 8), width // 16 :: max(1, width // 8)]
    equal = (grid == grid[:, :1, :1]).all(dim=0)
    return int(equal.sum()) >= 0.9 * equal.numel()


def _normalise_images(norm: nn.InstanceNorm2d, images: Tensor) -> Tensor:
    """Instance normalisation of a channels-last batch ``(B, C, H, W)``; any other input goes to the layer itself."""
    channels_last = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    plain = type(images) is Tensor and images.device.type == "cpu" and images.dtype == torch.float32
    if not channels_last or not plain or torch.is_grad_enabled() or images.shape[2] * images.shape[3] < 2:
        return type(norm).forward(norm, images)
    result = torch.empty_like(images)
    statistics = images.new_empty(2, images.shape[1])
    for index in range(len(images)):
        image = slice(index, index + 1)
        if _looks_constant(images[image]):  # batch normalisation would scale the rounding error of the mean
            result[image] = type(norm).forward(norm, images[image])
            continue
        torch.native_batch_norm(
            *(images[image], norm.weight, norm.bias, None, None, True, 0.0, norm.eps),
            out=(result[image], *statistics),
        )
    return result
