"""The wide ResNet-38 as the classifier of activation maps."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks.imagenet import saved_state
from camtools.networks.norms import NormName, norm_layer
from camtools.networks.resnet38_blocks import BasicBlock, BottleneckBlock
from camtools.networks.resnet_weights import check_fit, load_features
from camtools.networks.sizes import check_images, check_output_stride, scaled_widths
from camtools.networks.unit_images import imagenet_scale

__all__ = ["ResNet38"]

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
SHALLOW = (
    *("scale", "conv1a", "b2", "b2_1", "b2_2", "b3", "b3_1", "b3_2"),
    *("b4", "b4_1", "b4_2", "b4_3", "b4_4", "b4_5", "b5", "b5_1", "b5_2"),
)
HEADS = ("fc", "linear1000.")  # class layers of the public weights and of the networks trained from them


class ResNet38(nn.Module):
    r"""Wide ResNet-38 as a classifier whose activations make activation maps; OEEM's.

    The features f of the last three stages, after normalisation and activation, are concatenated: 512, 1024 and 4096
    channels, interpolated to the resolution of the first where theirs differ. A 1x1 convolution w without bias scores
    them at every position, and the scores are averaged:

    .. math:: M_k(i) = \sum_c w_{kc} f_c(i), \qquad y_k = \frac{1}{N} \sum_i M_k(i)

    :meth:`class_maps` gives M, :meth:`forward` y. The published network has an output stride of 8: two strides are
    replaced by dilation. Larger output strides put them back, which changes no feature at the remaining positions for
    sides that are multiples of 32, and saves time in training. Modules and state dictionary have the names of the
    public PyTorch weights ``res38d``; the class layer is ``fc8``. Dropouts zero whole channels. Parameters are kept in
    the channels-last memory format, which is faster on CPUs and with half precision on GPUs.

    Source: Wu et al., Wider or Deeper, Pattern Recognition 2019 (model A1), dilated as in AffinityNet (Ahn and Kwak,
    CVPR 2018); the classifier of OEEM (Li et al., MICCAI 2022), section 2.1 and eq. 1. The code of OEEM dilates the
    last block by 2 instead of 4.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on every channel count (at least 16 channels remain); 1.0 is ResNet-38.
        dropout: probability of the dropout before the class layer; those within the last two blocks keep the
            published 0.3 and 0.5.
        norm: ``"batch"``; ``"frozen"``: batch normalisation that keeps its running statistics and whose weights do not
            train, as in OEEM, for networks that start from pretrained weights; ``"group"``: for networks trained from
            scratch, whose running statistics would not fit images of another stain.
        pretrained: False starts from He initialisation. A path reads everything but the class layer from a state
            dictionary of ``res38d`` (where ``in_channels`` is not 3, the first convolution is summed over
            RGB and shared by the channels).
        output_stride: of blocks 6 and 7: 8, 16 or 32. Block 5 has at most 16. The class maps are at 8.
        unit_images: True: images are in [0, 1], and the network begins with the scaling that its pretrained weights
            expect (``camtools.networks.unit_images.imagenet_scale``). The first convolution of grey images then
            answers as it does to the same image in RGB. False: it takes images as they are.

    Attributes:
        cam_layers: names of the ends of the four stages and of the concatenated features, shallow to deep.
        embedding_size: number of features.
        smallest: least height and width of the images: the output stride.

    Raises:
        ValueError: a width that is not positive, an unknown norm or output stride, or pretrained weights for
            another network.

    Example:
        >>> import torch
        >>> model = ResNet38(width=0.03125)
        >>> model(torch.rand(3, 3, 64, 48)).shape, model.class_maps(torch.rand(3, 3, 64, 48)).shape
        (torch.Size([3, 2]), torch.Size([3, 2, 8, 6]))
        >>> model.cam_layers
        ['b2_2', 'b3_2', 'b4_5', 'b5_2', 'dropout7']
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        width: float = 1.0,
        dropout: float = 0.5,
        norm: NormName = "batch",
        pretrained: Literal[False] | str | os.PathLike[str] = False,
        output_stride: Literal[8, 16, 32] = 8,
        unit_images: bool = False,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        fifth = 1 if output_stride == 8 else 2  # strides of blocks 5 and 6, dilations after them
        sixth = 2 if output_stride == 32 else 1
        c = dict(zip(WIDTHS, scaled_widths(WIDTHS, width), strict=True))
        layer = norm_layer(norm)
        self.scale = imagenet_scale(in_channels) if unit_images else nn.Identity()
        self.conv1a = nn.Conv2d(in_channels, c[64], kernel_size=3, padding=1, bias=False)
        self.b2 = BasicBlock(c[64], c[128], c[128], layer, stride=2)
        self.b2_1, self.b2_2 = (BasicBlock(c[128], c[128], c[128], layer) for _ in range(2))
        self.b3 = BasicBlock(c[128], c[256], c[256], layer, stride=2)
        self.b3_1, self.b3_2 = (BasicBlock(c[256], c[256], c[256], layer) for _ in range(2))
        self.b4 = BasicBlock(c[256], c[512], c[512], layer, stride=2)
        self.b4_1, self.b4_2, self.b4_3 = (BasicBlock(c[512], c[512], c[512], layer) for _ in range(3))
        self.b4_4, self.b4_5 = (BasicBlock(c[512], c[512], c[512], layer) for _ in range(2))
        self.b5 = BasicBlock(c[512], c[512], c[1024], layer, stride=fifth, dilation=2 // fifth, first_dilation=1)
        self.b5_1, self.b5_2 = (BasicBlock(c[1024], c[512], c[1024], layer, dilation=2 // fifth) for _ in range(2))
        spread = 4 // (fifth * sixth)
        self.b6 = BottleneckBlock(c[1024], (c[512], c[1024]), c[2048], layer, spread, dropout=0.3, stride=sixth)
        self.b7 = BottleneckBlock(c[2048], (c[1024], c[2048]), c[4096], layer, spread, dropout=0.5)
        self.bn7 = layer(c[4096])
        self.relu = nn.ReLU(inplace=True)
        self.dropout7 = nn.Dropout2d(dropout)
        self.embedding_size = c[512] + c[1024] + c[4096]
        self.fc8 = nn.Conv2d(self.embedding_size, num_classes, kernel_size=1, bias=False)
        self.cam_layers = ["b2_2", "b3_2", "b4_5", "b5_2", "dropout7"]
        self.smallest = int(output_stride)
        self._initialise(pretrained, width, norm, unit_images)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: logits ``(B, num_classes)``, the average of :meth:`class_maps`."""
        return self.class_maps(images).mean(dim=(2, 3))

    def class_maps(self, images: Tensor) -> Tensor:
        """Score every class at every position; see the class.

        Args:
            images: ``(B, in_channels, H, W)``, H and W at least the output stride.

        Returns:
            ``(B, num_classes, H / 8, W / 8)``, rounded up, of any sign.

        Raises:
            ValueError: another number of dimensions, or images that are too small.
        """
        scores: Tensor = self.fc8(self.dropout7(self._features(images)))
        return scores

    def embed(self, images: Tensor) -> Tensor:
        """Features of images, averaged over positions: ``(B, embedding_size)``, >= 0; see :meth:`class_maps`."""
        return self._features(images).mean(dim=(2, 3))

    def feature_stages(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Layers that other networks build on, shared with this one: up to block 5, and blocks 6 and 7.

        The first ends with the sum of block 5, before the normalisation and activation of block 6.
        """
        shallow, deep = (
            nn.Sequential(OrderedDict((name, self.get_submodule(name)) for name in names))
            for names in (SHALLOW, ("b6", "b7", "bn7", "relu"))
        )
        return shallow, deep

    def _features(self, images: Tensor) -> Tensor:
        check_images(images, self.smallest)
        x = self.b2_2(self.b2_1(self.b2(self.conv1a(self.scale(images)))))
        x = self.b3_2(self.b3_1(self.b3(x)))
        x = self.b4_2(self.b4_1(self.b4(x)))
        x = self.b4_5(self.b4_4(self.b4_3(x)))
        fourth = self.b5.activate(x)
        x = self.b5_2(self.b5_1(self.b5(x, fourth)))
        fifth = self.b6.activate(x)
        last = self.relu(self.bn7(self.b7(self.b6(x, fifth))))
        size = fourth.shape[2:]
        if fifth.shape[2:] != size:
            fifth = F.interpolate(fifth, size=size, mode="bilinear", align_corners=False)
            last = F.interpolate(last, size=size, mode="bilinear", align_corners=False)
        return torch.cat([fourth, fifth, last], dim=1)

    def _initialise(
        self, pretrained: bool | str | os.PathLike[str], width: float, norm: NormName, unit_images: bool
    ) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer is not self.fc8:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if pretrained is False:
            return
        if pretrained is True:
            raise ValueError(
                "expected pretrained to be the path of a res38d state dictionary, found True; camtools cannot download "
                "one; pass its file, or pretrained=False to train from scratch"
            )
        check_fit(width, norm)
        state = {key.removeprefix("module."): value for key, value in saved_state(pretrained, "ResNet-38").items()}
        load_features(
            self,
            state,
            first="conv1a",
            heads=HEADS,
            source="a state dictionary of res38d",
            advice="pass its file",
            next_norm="b2.bn_branch2a" if unit_images else None,
        )
