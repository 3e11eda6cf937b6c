"""What the tests of the activation maps share: the classes under one contract and a small classifier."""

from __future__ import annotations

from torch import Tensor, nn

from camtools.cams import CAM, GradCAM, GradCAMpp, LayerCAM, LTGradCAM, LTLayerCAM, XGradCAM

GRADIENT_CLASSES = [GradCAM, GradCAMpp, XGradCAM, LayerCAM, LTGradCAM, LTLayerCAM]
CAM_CLASSES = [CAM, *GRADIENT_CLASSES]
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
