"""VGG-16 as the classifier of activation maps: fully convolutional with a fine last feature map, or as published."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights

from camtools.networks.imagenet import imagenet_state
from camtools.networks.norms import Norm, norm_layer
from camtools.networks.sizes import check_images, scaled_widths
from camtools.networks.unit_images import imagenet_scale
from camtools.networks.vgg16_weights import Weighted, load_layers

__all__ = ["VGG16CAM"]

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
HIDDEN, POOLED = 4096, 7  # of VGG-16's fully connected head
NORMS = ("batch", "instance")
HEADS = ("average", "fully_connected")


class VGG16CAM(nn.Module):
    """VGG-16 as a classifier for activation maps; UM-CAM's variant by default.

    With ``dilated=True`` it is the classifier of UM-CAM: the fourth pooling is 3x3 with stride 1, the convolutions of
    block 5 are dilated by 2 and each is followed by dropout, and there is no fifth pooling (output stride 8). With
    ``dilated=False`` the blocks are VGG-16's own (output stride 16 at the end of block 5), as LTGrad-CAM uses them.

    The head ``"average"`` is a 1x1 convolution and global average pooling, with dropout before it where block 5 has
    none; ``"fully_connected"`` is VGG-16's: average pooling to 7x7, two hidden layers with dropout, and the class layer
    (after VGG-16's fifth pooling, unless dilated). With ``dilated=False``, ``head="fully_connected"`` and
    ``norm=None``, network and state dictionary equal ``torchvision.models.vgg16`` and its state dictionary.

    ``output_stride`` moves the stride of the fourth pooling into the dilation of block 5, or back. For sides that are
    multiples of 16, this does not change the features at the positions that both have, and the state dictionary stays
    the same: weights trained at 16 give finer maps at 8.

    Parameters are kept in the channels-last memory format, which is faster on CPUs and with half precision on GPUs.

    Source: Simonyan and Zisserman, ICLR 2015; UM-CAM (Fu et al., 2023), section 3.1 and the authors' code.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every channel count (at least 4 channels remain); 1.0 is VGG-16.
        dropout: probability of every dropout.
        norm: normalisation between convolution and activation: None (VGG-16), ``"batch"`` or ``"instance"``.
        pretrained: False starts from He initialisation. True downloads torchvision's ImageNet weights; a path reads
            them from a state dictionary of ``torchvision.models.vgg16``. Either loads the convolutions (where
            ``in_channels`` is not 3, the first one is summed over RGB and shared by the channels) and the
            hidden layers of a fully connected head.
        dilated: UM-CAM's fourth pooling and block 5; False: VGG-16's.
        head: ``"average"`` or ``"fully_connected"``.
        output_stride: of block 5: 8 or 16; None: 8 if dilated, else 16. A fully connected head has no other.
        unit_images: True: images are in [0, 1], and the network begins with the scaling that its pretrained weights
            expect (``camtools.networks.unit_images.imagenet_scale``). The first convolution of grey images then
            answers as it does to the same image in RGB. False: it takes images as they are.

    Attributes:
        cam_layers: names of the last activation of each of the five blocks, shallow to deep.
        embedding_size: number of features of :meth:`embed`.
        smallest: smallest height and width of the images.

    Raises:
        ValueError: a width that is not positive, an unknown norm, head or output stride, or pretrained weights for
            another network.
        RuntimeError: the download fails.

    Example:
        >>> import torch
        >>> model = VGG16CAM(in_channels=1, num_classes=2, width=0.0625)
        >>> model(torch.rand(3, 1, 64, 64)).shape
        torch.Size([3, 2])
        >>> model.cam_layers
        ['features.3', 'features.8', 'features.15', 'features.22', 'features.31']
        >>> VGG16CAM(width=0.0625, dilated=False, head="fully_connected")(torch.rand(3, 1, 64, 64)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: float = 1.0,
        dropout: float = 0.5,
        norm: Literal["batch", "instance"] | None = None,
        pretrained: bool | str | os.PathLike[str] = False,
        dilated: bool = True,
        head: Literal["average", "fully_connected"] = "average",
        output_stride: Literal[8, 16] | None = None,
        unit_images: bool = False,
    ) -> None:
        super().__init__()
        *widths, hidden = scaled_widths([*(channels for channels, _ in BLOCKS), HIDDEN], width, fewest=4)
        if head not in HEADS:
            raise ValueError(f"expected head 'average' or 'fully_connected', found {head!r}")
        norm_of = None if norm is None else norm_layer(norm, allowed=NORMS)
        self.fully_connected = head == "fully_connected"
        self.smallest = _output_stride(output_stride, dilated, self.fully_connected)
        layers, ends = _features(in_channels, widths, dropout, norm_of, dilated, self.smallest)
        if not dilated and self.fully_connected:
            self.smallest = 32
            layers.append(nn.MaxPool2d(2))
        elif not dilated:
            layers.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*layers)
        self.scale = imagenet_scale(in_channels) if unit_images else nn.Identity()
        self.classifier: nn.Module
        if self.fully_connected:
            self.classifier = _fully_connected(widths[-1] * POOLED**2, hidden, num_classes, dropout)
            self.embedding_size = hidden
        else:
            self.classifier = nn.Conv2d(widths[-1], num_classes, kernel_size=1)
            self.embedding_size = widths[-1]
        self.cam_layers = [f"features.{end}" for end in ends]
        self._initialise(pretrained, width, norm, unit_images)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: ``(B, in_channels, H, W)``, scaled to [0, 1]; H and W at least the output stride, or 32 (not dilated
                and fully connected).

        Returns:
            Logits ``(B, num_classes)``.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        if not self.fully_connected:
            return self.class_maps(images).mean(dim=(2, 3))
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(self._features(images), (7, 7)).flatten(1))
        return logits

    def embed(self, images: Tensor) -> Tensor:
        """Features of images: block 5, averaged over positions, or the last hidden layer of a fully connected head.

        Args:
            images: as for :meth:`forward`.

        Returns:
            ``(B, embedding_size)``, >= 0.

        Raises:
            ValueError: as for :meth:`forward`.
        """
        features = self._features(images)
        if not self.fully_connected:
            return features.mean(dim=(2, 3))
        hidden: Tensor = F.adaptive_avg_pool2d(features, (7, 7)).flatten(1)
        for layer in list(self.classifier.children())[:-1]:
            hidden = layer(hidden)
        return hidden

    def class_maps(self, images: Tensor) -> Tensor:
        """Score every class at every position by the class layer; :meth:`forward` is the average over positions.

        Args:
            images: as for :meth:`forward`.

        Returns:
            ``(B, num_classes, h, w)`` at the output stride, of any sign.

        Raises:
            ValueError: as for :meth:`forward`, or a fully connected head, which has no scores per position.
        """
        if self.fully_connected:
            raise ValueError(
                "expected head='average' for class_maps, found head='fully_connected', without scores per position; "
                "use camtools.cams.GradCAM, or train with head='average'"
            )
        scores: Tensor = self.classifier(self._features(images))
        return scores

    def _initialise(
        self,
        pretrained: bool | str | os.PathLike[str],
        width: float,
        norm: Literal["batch", "instance"] | None,
        unit_images: bool,
    ) -> None:
        weighted = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        layers_before, class_layer = weighted[:-1], weighted[-1]
        _initialise(layers_before, class_layer)
        if pretrained is not False:
            _check_fit(width, norm)
            state = imagenet_state(pretrained, VGG16_Weights.IMAGENET1K_V1, "VGG-16")
            load_layers(layers_before, state, unit_images)

    def _features(self, images: Tensor) -> Tensor:
        check_images(images, self.smallest)
        features: Tensor = self.features(self.scale(images))
        return features

    def feature_stages(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Layers that other networks build on, shared with this one: blocks 1 to 4, and the rest of the features."""
        end = int(self.cam_layers[3].removeprefix("features.")) + 1
        shallow = self.features[:end]
        if not isinstance(self.scale, nn.Identity):
            layers = OrderedDict(scale=self.scale, **dict(shallow.named_children()))
            shallow = nn.Sequential(layers)
        return shallow, self.features[end:]


def _check_fit(width: float, norm: str | None) -> None:
    if width != 1.0 or norm is not None:
        raise ValueError(
            "expected width=1.0 and norm=None for pretrained weights, found "
            f"width={width}, norm={norm!r}; change these or use pretrained=False"
        )


def _initialise(layers: list[Weighted], class_layer: Weighted) -> None:
    # fan-in keeps the size of the activations through all layers, whatever the number of input channels
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    nn.init.kaiming_normal_(class_layer.weight, mode="fan_in", nonlinearity="linear")
    for layer in (*layers, class_layer):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _fully_connected(inputs: int, hidden: int, num_classes: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, hidden):
        layers += [nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


class _DensePool(nn.Module):
    """VGG-16's pooling at every position instead of every second one: windows of 2x2 with stride 1."""

    def forward(self, features: Tensor) -> Tensor:
        # -inf never is the maximum of a window that reaches over the edge
        return F.max_pool2d(F.pad(features, [0, 1, 0, 1], value=-torch.inf), kernel_size=2, stride=1)


def _fourth_pool(dilated: bool, output_stride: int) -> nn.Module:
    if dilated:
        return nn.MaxPool2d(3, stride=output_stride // 8, padding=1)
    return nn.MaxPool2d(2) if output_stride == 16 else _DensePool()


def _output_stride(given: int | None, dilated: bool, fully_connected: bool) -> int:
    published = 8 if dilated else 16
    if given is None:
        return published
    if given not in (8, 16):
        raise ValueError(f"expected output_stride 8 or 16, found {given}")
    if fully_connected and given != published:
        raise ValueError(
            f"expected output_stride {published} for head='fully_connected' and dilated={dilated}, found {given}; set "
            "it to null, or use head='average'"
        )
    return given


def _features(
    in_channels: int, widths: list[int], dropout: float, norm: Norm | None, dilated: bool, output_stride: int
) -> tuple[list[nn.Module], list[int]]:
    """Layers of the five blocks, and the index of the last activation of each."""
    layers: list[nn.Module] = []
    ends: list[int] = []
    for block, (channels, (_, convolutions)) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
        changed = dilated and block == 5
        dilation = 2 if block == 5 and output_stride == 8 else 1
        for _ in range(convolutions):
            layers.append(nn.Conv2d(in_channels, channels, kernel_size=3, padding=dilation, dilation=dilation))
            layers += [norm(channels)] if norm is not None else []
            layers.append(nn.ReLU(inplace=True))
            end = len(layers) - 1
            layers += [nn.Dropout(dropout)] if changed else []
            in_channels = channels
        ends.append(end)
        if block < 5:
            layers.append(_fourth_pool(dilated, output_stride) if block == 4 else nn.MaxPool2d(2))
    return layers, ends
