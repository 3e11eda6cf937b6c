"""VGG-16 as a fully convolutional classifier with a high-resolution last feature map."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

__all__ = ["VGG16CAM"]

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
TORCHVISION_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # in vgg16().features
NORMS: dict[str | None, Callable[[int], nn.Module] | None] = {
    None: None,
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
}


class VGG16CAM(nn.Module):
    """The classifier of UM-CAM: VGG-16's convolutions with output stride 8, a 1x1 convolution, global average pooling.

    The fourth pooling is 3x3 with stride 1, the convolutions of block 5 are dilated by 2 and each is followed by
    dropout, and there is no fifth pooling. Parameters are kept in the channels-last memory format, which is faster on
    CPUs and with half precision on GPUs.

    Source: UM-CAM (Fu et al., 2023), section 3.1 and the authors' code; Simonyan and Zisserman, ICLR 2015.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every channel count (at least 4 channels remain); 1.0 is VGG-16.
        dropout: probability of the dropout after each activation of block 5.
        norm: normalisation between convolution and activation: None (VGG-16), ``"batch"`` or ``"instance"``.
        pretrained: False starts from He initialisation. True downloads torchvision's ImageNet weights; a path reads
            them from a state dictionary of ``torchvision.models.vgg16``. Either loads the convolutions only, and with
            ``in_channels=1`` the first one is summed over RGB.

    Attributes:
        cam_layers: names of the last activation of each of the five blocks, shallow to deep.

    Raises:
        ValueError: a width that is not positive, an unknown norm, or pretrained weights for another network.
        RuntimeError: the download fails.

    Example:
        >>> import torch
        >>> model = VGG16CAM(in_channels=1, num_classes=2, width=0.0625)
        >>> model(torch.rand(3, 1, 64, 64)).shape
        torch.Size([3, 2])
        >>> model.cam_layers
        ['features.3', 'features.8', 'features.15', 'features.22', 'features.31']
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        dropout: float = 0.5,
        norm: Literal["batch", "instance"] | None = None,
        pretrained: bool | str | os.PathLike[str] = False,
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"width is a factor on the channel counts and must be positive, got {width}")
        if norm not in NORMS:
            raise ValueError(f"norm must be None, 'batch' or 'instance', got {norm!r}")
        widths = [max(4, round(channels * width)) for channels, _ in BLOCKS]
        layers, ends = _features(in_channels, widths, dropout, NORMS[norm])
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(widths[-1], num_classes, kernel_size=1)
        self.cam_layers = [f"features.{end}" for end in ends]
        self._initialise()
        if pretrained is not False:
            if width != 1.0 or norm is not None or in_channels not in (1, 3):
                raise ValueError(
                    "pretrained weights fit width=1.0, norm=None and in_channels 1 or 3, got "
                    f"width={width}, norm={norm!r}, in_channels={in_channels}; change these or use pretrained=False"
                )
            self._load(_imagenet_weights(pretrained))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: ``(B, in_channels, H, W)``, H and W at least 8 (the output stride), scaled to [0, 1].

        Returns:
            Logits ``(B, num_classes)``.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        if images.dim() != 4 or images.size(2) < 8 or images.size(3) < 8:
            raise ValueError(f"images must be (B, C, H, W) with H and W at least 8, got shape {images.shape}")
        scores: Tensor = self.classifier(self.features(images))
        return scores.mean(dim=(2, 3))

    def _initialise(self) -> None:
        # fan-in keeps the size of the activations through 13 layers, whatever the number of input channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_in", nonlinearity="linear" if module is self.classifier else "relu"
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _load(self, state: dict[str, Tensor]) -> None:
        convolutions = [module for module in self.features if isinstance(module, nn.Conv2d)]
        for module, index in zip(convolutions, TORCHVISION_CONVOLUTIONS, strict=True):
            weight, bias = (state.get(f"features.{index}.{kind}") for kind in ("weight", "bias"))
            if weight is not None and index == 0 and module.in_channels == 1:
                weight = weight.sum(dim=1, keepdim=True)
            if weight is None or bias is None or weight.shape != module.weight.shape:
                found = "missing" if weight is None or bias is None else f"of shape {tuple(weight.shape)}"
                raise ValueError(
                    f"pretrained must be a state dictionary of torchvision.models.vgg16; features.{index} is {found}; "
                    "pass its file, or pretrained=True to download it"
                )
            module.load_state_dict({"weight": weight, "bias": bias})


def _features(
    in_channels: int, widths: list[int], dropout: float, norm: Callable[[int], nn.Module] | None
) -> tuple[list[nn.Module], list[int]]:
    """Layers of the five blocks, and the index of the last activation of each."""
    layers: list[nn.Module] = []
    ends: list[int] = []
    for block, (channels, (_, convolutions)) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
        dilation = 2 if block == 5 else 1
        for _ in range(convolutions):
            layers.append(nn.Conv2d(in_channels, channels, kernel_size=3, padding=dilation, dilation=dilation))
            layers += [norm(channels)] if norm is not None else []
            layers.append(nn.ReLU(inplace=True))
            end = len(layers) - 1
            layers += [nn.Dropout(dropout)] if block == 5 else []
            in_channels = channels
        ends.append(end)
        if block < 5:
            layers.append(nn.MaxPool2d(3, stride=1, padding=1) if block == 4 else nn.MaxPool2d(2))
    return layers, ends


def _imagenet_weights(source: str | os.PathLike[str] | Literal[True]) -> dict[str, Tensor]:
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
