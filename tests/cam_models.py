"""What the tests of the activation maps share: the classes under one contract and a small classifier."""

from __future__ import annotations

from torch import Tensor, nn

from camtools.cams import (
    CAM,
    AblationCAM,
    CfdCAM,
    FullGrad,
    GradCAM,
    GradCAMpp,
    LayerCAM,
    LTFullGrad,
    LTGradCAM,
    LTLayerCAM,
    ScoreCAM,
    XGradCAM,
)


def full_grad(model: nn.Module, layers: list[str], batch_size: int | None = None) -> FullGrad:
    """FullGrad under the contract of the others; it takes layers with a bias, and all of them unless told otherwise."""
    return FullGrad(model, batch_size=batch_size)


def lt_full_grad(model: nn.Module, layers: list[str], batch_size: int | None = None) -> LTFullGrad:
    return LTFullGrad(model, batch_size=batch_size)


GRADIENT_CLASSES = [GradCAM, GradCAMpp, XGradCAM, LayerCAM, LTGradCAM, LTLayerCAM, full_grad, lt_full_grad]
ANY_LAYER_CLASSES = [ScoreCAM, AblationCAM, CfdCAM, *GRADIENT_CLASSES]
CAM_CLASSES = [CAM, *ANY_LAYER_CLASSES]
LAYER_CLASSES = [cam for cam in CAM_CLASSES if cam not in (full_grad, lt_full_grad)]  # which read the layers named
LAYERS = ["features.1", "features.3", "features.5"]


class Classifier(nn.Module):
    """Two convolutional stages, batch norm with statistics of its own, and a linear head after global pooling."""

    def __init__(self, classes: int = 3, inplace: bool = False, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(inplace=inplace),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            norm(6),
            nn.ReLU(inplace=inplace),
        )
        self.unused = nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(6, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))
