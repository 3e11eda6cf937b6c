"""ResNet-18 as the classifier of activation maps."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock

from camtools.networks.imagenet import imagenet_state
from camtools.networks.norms import Norm, NormName, norm_layer
from camtools.networks.resnet_weights import check_fit, load_features
from camtools.networks.sizes import check_images, check_output_stride, scaled_widths
from camtools.networks.unit_images import imagenet_scale

__all__ = ["ResNet18CAM"]

STAGES = (64, 128, 256, 512)


class ResNet18CAM(nn.Module):
    """ResNet-18 as a classifier whose activations make activation maps.

    Modules and state dictionary have the names of ``torchvision.models.resnet18``, whatever the output stride. Strides
    beyond ``output_stride`` are replaced by dilation. For sides that are multiples of 32, this does not change the
    features at the remaining positions: weights trained at 32 give finer maps at 16 or 8. Parameters are kept in the
    channels-last memory format, which is faster on CPUs and with half precision on GPUs.

    Source: He et al., CVPR 2016; the classifier of Cfd-CAM (Chen et al., 2023), section 3.2.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits; one for a binary classifier trained with binary cross-entropy.
        width: factor on every channel count (at least 16 channels remain); 1.0 is ResNet-18.
        pretrained: False starts from He initialisation. True downloads torchvision's ImageNet weights; a path reads
            them from a state dictionary of ``torchvision.models.resnet18``. Either loads everything but the class layer
            (where ``in_channels`` is not 3, the first convolution is summed over RGB and shared by the channels).
        output_stride: of the last stage: 32 (ResNet-18), 16 or 8.
        norm: ``"batch"``; ``"frozen"``: batch normalisation that keeps its running statistics and whose weights do not
            train, for networks that start from pretrained weights; ``"group"``, for networks trained from scratch.
        unit_images: True: images are in [0, 1], and the network begins with the scaling that its pretrained weights
            expect (``camtools.networks.unit_images.imagenet_scale``). The first convolution of grey images then
            answers as it does to the same image in RGB. False: it takes images as they are.

    Attributes:
        cam_layers: names of the four stages, shallow to deep.
        embedding_size: number of features of :meth:`embed`.
        smallest: least height and width of the images: the output stride.

    Raises:
        ValueError: a width that is not positive, an unknown output stride or norm, or pretrained weights for another
            network.
        RuntimeError: the download fails.

    Example:
        >>> import torch
        >>> model = ResNet18CAM(width=0.125)
        >>> model(torch.rand(3, 1, 64, 64)).shape
        torch.Size([3, 1])
        >>> model.cam_layers
        ['layer1', 'layer2', 'layer3', 'layer4']
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        width: float = 1.0,
        pretrained: bool | str | os.PathLike[str] = False,
        output_stride: Literal[8, 16, 32] = 32,
        norm: NormName = "batch",
        unit_images: bool = False,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        widths = scaled_widths(STAGES, width)
        layer = norm_layer(norm)
        self.scale = imagenet_scale(in_channels) if unit_images else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = layer(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _stage(widths[0], widths[0], layer, stride=1)
        self.layer2 = _stage(widths[0], widths[1], layer, stride=2)
        self.layer3 = _stage(widths[1], widths[2], layer, stride=2)
        self.layer4 = _stage(widths[2], widths[3], layer, stride=2)
        _replace_strides(self.layer3, self.layer4, output_stride)
        self.fc = nn.Linear(widths[3], num_classes)
        self.cam_layers = [f"layer{stage}" for stage in (1, 2, 3, 4)]
        self.embedding_size = widths[3]
        self.smallest = int(output_stride)
        self._initialise(pretrained, width, norm, unit_images)
        self.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Tensor:
        """Features of images: the last stage, averaged over positions.

        Args:
            images: ``(B, in_channels, H, W)``, H and W at least the output stride.

        Returns:
            ``(B, embedding_size)``, >= 0.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        embedding: Tensor = self._features(images).mean(dim=(2, 3))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: logits ``(B, num_classes)``; see :meth:`embed`."""
        logits: Tensor = self.fc(self.embed(images))
        return logits

    def class_maps(self, images: Tensor) -> Tensor:
        """Score every class at every position: the class layer applied there; :meth:`forward` is their average.

        Args:
            images: ``(B, in_channels, H, W)``, H and W at least the output stride.

        Returns:
            ``(B, num_classes, h, w)`` at the output stride, of any sign.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        return F.conv2d(self._features(images), self.fc.weight[:, :, None, None], self.fc.bias)

    def feature_stages(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Layers that other networks build on, shared with this one: up to ``layer3``, and ``layer4``."""
        shallow = ("scale", "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        layers = OrderedDict((name, self.get_submodule(name)) for name in shallow)
        return nn.Sequential(layers), nn.Sequential(OrderedDict(layer4=self.layer4))

    def _initialise(
        self, pretrained: bool | str | os.PathLike[str], width: float, norm: NormName, unit_images: bool
    ) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if pretrained is not False:
            check_fit(width, norm)
            load_features(
                self,
                imagenet_state(pretrained, ResNet18_Weights.IMAGENET1K_V1, "ResNet-18"),
                first="conv1",
                heads=("fc.",),
                source="a state dictionary of torchvision.models.resnet18",
                advice="pass its file, or pretrained=True to download it",
                next_norm="bn1" if unit_images else None,
            )

    def _features(self, images: Tensor) -> Tensor:
        check_images(images, self.smallest)
        features = self.maxpool(self.relu(self.bn1(self.conv1(self.scale(images)))))
        last: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return last


def _stage(inputs: int, channels: int, norm: Norm, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != channels:
        convolution = nn.Conv2d(inputs, channels, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, norm(channels))
    first = BasicBlock(inputs, channels, stride, shortcut, norm_layer=norm)
    return nn.Sequential(first, BasicBlock(channels, channels, norm_layer=norm))


def _replace_strides(third: nn.Sequential, fourth: nn.Sequential, output_stride: int) -> None:
    if output_stride == 8:
        _replace_stride(third, dilation=2)
    if output_stride < 32:
        _replace_stride(fourth, dilation=32 // output_stride)


def _replace_stride(stage: nn.Sequential, dilation: int) -> None:
    """Leave out the stride of a stage, and dilate all convolutions after it instead."""
    for layer in stage.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        spread = dilation
        if layer.stride == (2, 2):
            layer.stride = (1, 1)
            spread = dilation // 2  # it still sees the resolution before the stride
        if layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (spread, spread)
