"""Parts of networks from their equations, one position at a time: one image (C, H, W), trained batch norms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.reference.cams import reference_bilinear

Weights = dict[str, Tensor]


def convolution(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Zero-padded so that a convolution of stride 1 keeps the size."""
    outputs, _, size, _ = weight.shape
    _, height, width = x.shape
    result = torch.zeros(outputs, math.ceil(height / stride), math.ceil(width / stride), dtype=x.dtype)
    for i in range(result.shape[1]):
        for j in range(result.shape[2]):
            for u in range(size):
                for v in range(size):
                    y, z = i * stride + (u - size // 2) * dilation, j * stride + (v - size // 2) * dilation
                    if 0 <= y < height and 0 <= z < width:
                        result[:, i, j] += weight[:, :, u, v] @ x[:, y, z]
    return result


def activated(x: Tensor, weights: Weights, norm: str) -> Tensor:
    """ReLU of a batch norm that uses its running statistics."""
    result = torch.zeros_like(x)
    for c in range(len(x)):
        deviation = math.sqrt(float(weights[f"{norm}.running_var"][c]) + 1e-5)
        scaled = (x[c] - weights[f"{norm}.running_mean"][c]) / deviation
        result[c] = (scaled * weights[f"{norm}.weight"][c] + weights[f"{norm}.bias"][c]).clamp(min=0)
    return result


def basic_block(x: Tensor, weights: Weights, stride: int, dilations: tuple[int, int]) -> Tensor:
    """Wu et al., Wider or Deeper, with names as in the public weights."""
    a = activated(x, weights, "bn_branch2a")
    shortcut = convolution(a, weights["conv_branch1.weight"], stride) if "conv_branch1.weight" in weights else x
    hidden = convolution(a, weights["conv_branch2a.weight"], stride, dilations[0])
    hidden = activated(hidden, weights, "bn_branch2b1")
    return shortcut + convolution(hidden, weights["conv_branch2b1.weight"], dilation=dilations[1])


def bottleneck_block(x: Tensor, weights: Weights, dilation: int) -> Tensor:
    """As :func:`basic_block`, with three convolutions; without dropout."""
    a = activated(x, weights, "bn_branch2a")
    hidden = activated(convolution(a, weights["conv_branch2a.weight"]), weights, "bn_branch2b1")
    hidden = convolution(hidden, weights["conv_branch2b1.weight"], dilation=dilation)
    hidden = activated(hidden, weights, "bn_branch2b2")
    return convolution(a, weights["conv_branch1.weight"]) + convolution(hidden, weights["conv_branch2b2.weight"])


def pyramid_pooling(x: Tensor, levels: list[tuple[int, Weights]]) -> Tensor:
    """Zhao et al., CVPR 2017, section 3.2; a cell's pixels are those it covers at least in part."""
    _, height, width = x.shape
    maps = list(x)
    for size, weights in levels:
        pooled = torch.zeros(len(x), size, size, dtype=x.dtype)
        for i in range(size):
            for j in range(size):
                rows = slice(i * height // size, math.ceil((i + 1) * height / size))
                columns = slice(j * width // size, math.ceil((j + 1) * width / size))
                pooled[:, i, j] = x[:, rows, columns].flatten(1).mean(dim=1)
        reduced = activated(convolution(pooled, weights["1.weight"]), weights, "2")
        maps += [reference_bilinear(channel, height, width) for channel in reduced]
    return torch.stack(maps)
