"""Vision transformers with random weights, and the names of some of their layers."""

from __future__ import annotations

from torch import nn
from torchvision.models import SwinTransformer

from camtools.cams import (
    AblationCAM,
    GradCAM,
    GradCAMpp,
    LayerCAM,
    LTGradCAM,
    LTLayerCAM,
    ScoreCAM,
    XGradCAM,
)


def randomised(model: nn.Module) -> nn.Module:
    """Torchvision starts a ViT's head with zeros, and other weights so small that maps are rounding."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
        elif "bias" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.double().eval()


def swin(patch: int = 4, width: int = 8) -> nn.Module:
    return randomised(SwinTransformer([patch, patch], width, [2, 2], [2, 2], [2, 2], num_classes=3))


VIT_LAYERS = ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1.ln_1"]

CLASSES = [GradCAM, GradCAMpp, XGradCAM, LayerCAM, LTGradCAM, LTLayerCAM, ScoreCAM, AblationCAM]
