"""Activation maps from the equations: one image, one layer, one pixel at a time, with the whole graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def reference_bilinear(layer_map: Tensor, height: int, width: int) -> Tensor:
    """Bilinear upsampling of (h, w), pixel centres at half integers (align_corners=False), clamped at the border."""
    h, w = layer_map.shape
    result = torch.zeros(height, width, dtype=layer_map.dtype)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0.0), h - 1.0)
            x = min(max((j + 0.5) * w / width - 0.5, 0.0), w - 1.0)
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = y - top, x - left
            result[i, j] = (1 - v) * ((1 - u) * layer_map[top, left] + u * layer_map[top, right]) + v * (
                (1 - u) * layer_map[bottom, left] + u * layer_map[bottom, right]
            )
    return result


def activation_and_gradient(model: nn.Module, layer: str, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Activation (K, h, w) of a layer for an image (C, H, W) and the gradient of logit ``target``; plain autograd."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = model.get_submodule(layer).register_forward_hook(keep)
    model.zero_grad()
    model(image[None])[0, target].backward()
    handle.remove()
    model.zero_grad()
    assert kept[0].grad is not None
    return kept[0].detach()[0], kept[0].grad[0]


def reference_grad_cam(model: nn.Module, layer: str, image: Tensor, target: int) -> Tensor:
    """UM-CAM, eq. 1-2, for a model without in-place operations in evaluation mode: (H, W)."""
    activation, gradient = activation_and_gradient(model, layer, image, target)
    channels, h, w = activation.shape
    layer_map = torch.zeros(h, w, dtype=activation.dtype)
    for i in range(h):
        for j in range(w):
            value = 0.0
            for k in range(channels):
                alpha = sum(float(g) for g in gradient[k].flatten()) / (h * w)
                value += alpha * float(activation[k, i, j])
            layer_map[i, j] = max(value, 0.0)
    return reference_bilinear(layer_map, *image.shape[1:])
