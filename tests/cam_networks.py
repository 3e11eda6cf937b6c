"""Every classifier of the package, tiny and not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from camtools.networks import VGG16CAM, ResNet18CAM, ResNet38

Network = TypeVar("Network", bound=nn.Module)

CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "resnet38": lambda: ResNet38(width=0.03125, num_classes=3),
    "resnet38_frozen": lambda: ResNet38(width=0.03125, num_classes=3, norm="frozen"),
    "resnet38_group": lambda: ResNet38(width=0.03125, num_classes=3, norm="group"),
    "resnet18": lambda: ResNet18CAM(in_channels=3, num_classes=3, width=0.125),
    "vgg16": lambda: VGG16CAM(in_channels=3, num_classes=3, width=0.0625),
    "vgg16_not_dilated": lambda: VGG16CAM(in_channels=3, num_classes=3, width=0.0625, dilated=False, norm="batch"),
}


def vary_norms(model: Network) -> Network:
    """Give the batch norms parameters and statistics as after training."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (layer.bias, layer.running_mean):
                nn.init.uniform_(values, -0.2, 0.2)
    return model


def classifier(name: str) -> nn.Module:
    torch.manual_seed(0)
    return vary_norms(CLASSIFIERS[name]()).eval()
