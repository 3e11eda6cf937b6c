"""ImageNet weights of torchvision's VGG-16 for :class:`camtools.networks.VGG16CAM`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

__all__ = ["Weighted", "imagenet_state", "load_layers"]

Weighted = nn.Conv2d | nn.Linear

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
FULLY_CONNECTED = (0, 3)  # the class layer, 6, is of ImageNet's classes
LAYERS = (*(f"features.{index}" for index in CONVOLUTIONS), *(f"classifier.{index}" for index in FULLY_CONNECTED))
"""Names of the layers in ``torchvision.models.vgg16``, in the order of the forward pass."""


def imagenet_state(source: str | os.PathLike[str] | Literal[True]) -> dict[str, Tensor]:
    """State dictionary of ``torchvision.models.vgg16``: from a file, or downloaded (True).

    Raises:
        ValueError: the file holds no state dictionary.
        RuntimeError: the download fails.
    """
    if source is not True:
        state = torch.load(source, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"{source} holds a {type(state).__name__}, expected a state dictionary of VGG-16")
        return state
    try:
        return dict(VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise RuntimeError(
            "could not download torchvision's VGG-16 weights; download them on a machine with a connection and pass "
            f"the file with pretrained=PATH, or train from scratch with pretrained=False ({error})"
        ) from error


def load_layers(layers: Sequence[Weighted], state: Mapping[str, Tensor]) -> None:
    """Load the first layers of VGG-16, convolutions and then fully connected ones.

    Args:
        layers: the layers to load, in the order of the forward pass. A first convolution of one channel gets the
            weights summed over RGB.
        state: state dictionary of ``torchvision.models.vgg16``.

    Raises:
        ValueError: a weight is missing or of another shape.
    """
    for name, layer in zip(LAYERS, layers, strict=False):
        weight, bias = (state.get(f"{name}.{kind}") for kind in ("weight", "bias"))
        if weight is not None and layer is layers[0] and layer.weight.shape[1] == 1:
            weight = weight.sum(dim=1, keepdim=True)
        if weight is None or bias is None or weight.shape != layer.weight.shape:
            found = "missing" if weight is None or bias is None else f"of shape {tuple(weight.shape)}"
            raise ValueError(
                f"pretrained must be a state dictionary of torchvision.models.vgg16; {name} is {found}; "
                "pass its file, or pretrained=True to download it"
            )
        layer.load_state_dict({"weight": weight, "bias": bias})
