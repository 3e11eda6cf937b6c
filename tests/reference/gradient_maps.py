"""Maps made from activations and gradients, from the equations: one image (K, *spatial), one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tests.reference.cams import activation_and_gradient, reference_bilinear


def _weighted_sum(activation: Tensor, weights: list[list[float]]) -> Tensor:
    """ReLU of the sum over channels of weight times activation, one weight for each channel and position."""
    channels = activation.flatten(1).tolist()
    values = []
    for i in range(len(channels[0])):
        value = 0.0
        for k in range(len(channels)):
            value += weights[k][i] * channels[k][i]
        values.append(max(value, 0.0))
    return torch.tensor(values, dtype=activation.dtype).view(activation.shape[1:])


def reference_grad_cam_map(activation: Tensor, gradient: Tensor) -> Tensor:
    """Dong et al., eq. 2-3."""
    gradients = gradient.flatten(1).tolist()
    weights = [[math.fsum(g) / len(g)] * len(g) for g in gradients]
    return _weighted_sum(activation, weights)


def reference_grad_cam_pp(activation: Tensor, gradient: Tensor) -> Tensor:
    """Chattopadhay et al., eq. 19, with its powers; a quotient over zero counts zero."""
    weights = []
    for f, g in zip(activation.flatten(1).tolist(), gradient.flatten(1).tolist(), strict=True):
        weight = 0.0
        for i in range(len(f)):
            denominator = 2 * g[i] ** 2 + math.fsum(f) * g[i] ** 3
            alpha = g[i] ** 2 / denominator if denominator != 0 else 0.0
            weight += alpha * max(g[i], 0.0)
        weights.append([weight] * len(f))
    return _weighted_sum(activation, weights)


def reference_xgrad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Fu et al.: each gradient weighted by its share of the activation of its channel."""
    weights = []
    for f, g in zip(activation.flatten(1).tolist(), gradient.flatten(1).tolist(), strict=True):
        total = math.fsum(f)
        weight = 0.0
        for i in range(len(f)):
            weight += f[i] / total * g[i] if total != 0 else 0.0
        weights.append([weight] * len(f))
    return _weighted_sum(activation, weights)


def reference_layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Dong et al., eq. 4-5."""
    return _weighted_sum(activation, [[max(g, 0.0) for g in channel] for channel in gradient.flatten(1).tolist()])


def reference_truncate(gradient: Tensor, percentile: float) -> Tensor:
    """Dong et al., eq. 9, with the percentile of numpy."""
    kept = []
    for channel in gradient.flatten(1).tolist():
        positive = [g for g in channel if g > 0]
        threshold = float(np.percentile(positive, percentile)) if positive else math.inf
        kept.append([g if g >= threshold else 0.0 for g in channel])
    return torch.tensor(kept, dtype=gradient.dtype).view(gradient.shape)


def reference_maps(
    function: Callable[[Tensor, Tensor], Tensor], model: nn.Module, layers: list[str], image: Tensor, target: int
) -> Tensor:
    """Upsampled maps (L, H, W) of an image (C, H, W), each layer by a backward pass of its own."""
    maps = [function(*activation_and_gradient(model, layer, image, target)) for layer in layers]
    return torch.stack([reference_bilinear(layer_map, *image.shape[1:]) for layer_map in maps])


def reference_lt_map(
    function: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    layers: list[str],
    image: Tensor,
    target: int,
    percentile: float,
) -> Tensor:
    """Dong et al., eq. 10 for any map: (1, H, W)."""
    total = torch.zeros(1, *image.shape[1:], dtype=image.dtype)
    for layer in layers:
        activation, gradient = activation_and_gradient(model, layer, image, target)
        layer_map = function(activation, reference_truncate(gradient, percentile))
        total += reference_bilinear(layer_map, *image.shape[1:])
    return total
