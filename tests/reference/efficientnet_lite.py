"""EfficientNet-Lite0 from table 1 of EfficientNet and the rule of TensorFlow's padding SAME, with weights by name."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

# expansion, channels, blocks, stride, kernel size of stages 2 to 8
TABLE = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]


def blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Inputs, expansion, outputs, stride and kernel size of the 16 blocks."""
    inputs = 32
    for expansion, outputs, count, stride, size in TABLE:
        for index in range(count):
            yield inputs, expansion, outputs, stride if index == 0 else 1, size
            inputs = outputs


def random_state(in_channels: int = 3) -> dict[str, Tensor]:
    """Weights under the published names; activations keep their size."""
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, outputs: int, inputs: int, size: int) -> None:
        state[f"{convolution}.weight"] = torch.randn(outputs, inputs, size, size) * (2 / (inputs * size**2)) ** 0.5
        for kind, low in [("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)]:
            state[f"{norm}.{kind}"] = low + torch.rand(outputs)

    add("_conv_stem", "_bn0", 32, in_channels, 3)
    for index, (inputs, expansion, outputs, _, size) in enumerate(blocks()):
        hidden, name = inputs * expansion, f"_blocks.{index}."
        if expansion > 1:
            add(f"{name}_expand_conv", f"{name}_bn0", hidden, inputs, 1)
        add(f"{name}_depthwise_conv", f"{name}_bn1", hidden, 1, size)
        add(f"{name}_project_conv", f"{name}_bn2", outputs, hidden, 1)
    add("_conv_head", "_bn1", 1280, 320, 1)
    return state | {"_fc.weight": torch.randn(1000, 1280), "_fc.bias": torch.randn(1000)}


def convolve(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    size = weight.shape[2]
    padding = []
    for side in (x.shape[3], x.shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + size - side, 0)
        padding += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=groups)


def features(images: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Ends of the 112, the 320 and the 1280 channels, at output strides 16, 32 and 32."""

    def layer(x: Tensor, convolution: str, norm: str, activation: bool, stride: int = 1, groups: int = 1) -> Tensor:
        x = convolve(x, state[f"{convolution}.weight"], stride, groups)
        mean, variance, weight, bias = (
            state[f"{norm}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(variance + 0.001) * weight + bias
        return x.clamp(0, 6) if activation else x

    x = layer(images, "_conv_stem", "_bn0", True, stride=2)
    ends: dict[int, Tensor] = {}
    for index, (inputs, expansion, outputs, stride, _) in enumerate(blocks()):
        name = f"_blocks.{index}."
        hidden = x
        if expansion > 1:
            hidden = layer(hidden, f"{name}_expand_conv", f"{name}_bn0", True)
        hidden = layer(hidden, f"{name}_depthwise_conv", f"{name}_bn1", True, stride, groups=inputs * expansion)
        hidden = layer(hidden, f"{name}_project_conv", f"{name}_bn2", False)
        x = x + hidden if stride == 1 and inputs == outputs else hidden
        ends[outputs] = x
    return ends[112], x, layer(x, "_conv_head", "_bn1", True)
