"""Torchvision's VGG-16 with random weights and narrow hidden layers: the published ones have 120 million weights."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

HIDDEN = 64


def narrow_vgg16() -> VGG:
    with torch.device("meta"):  # the weights are drawn once, below
        model = VGG(make_layers(cfgs["D"]), init_weights=False)
        layers = model.classifier
        layers[0], layers[3], layers[6] = nn.Linear(25088, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1000)
    generator = torch.Generator().manual_seed(0)
    draw = {
        key: torch.empty(value.shape).uniform_(-1, 1, generator=generator) / max(1, value[0].numel()) ** 0.5
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(draw, assign=True)
    return model.eval()
