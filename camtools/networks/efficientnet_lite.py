"""Inverted residual blocks: the parts of EfficientNet-Lite."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks.dilated_depthwise import DilatedDepthwiseConv2d
from camtools.networks.norms import Norm, NormName, norm_layer

__all__ = ["InvertedResidual", "SamePadding", "activated", "normalization", "stages"]

STAGES = (  # stages 2 to 8 of table 1: blocks, kernel size, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def activated(convolution: nn.Conv2d, norm: Norm) -> nn.Sequential:
    """A convolution, batch normalisation and the activation min(max(x, 0), 6)."""
    return nn.Sequential(convolution, norm(convolution.out_channels), nn.ReLU6(inplace=True))


def normalization(channels: int, name: NormName) -> nn.Module:
    """A normalisation by name; batch normalisation with the constants that EfficientNets were trained with.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> normalization(16, "frozen").eps
        0.001
    """
    layer = norm_layer(name)(channels)
    if isinstance(layer, nn.BatchNorm2d):
        layer.eps, layer.momentum = 1e-3, 0.01
    return layer


class SamePadding(nn.Module):
    """Zeros around images before a convolution of stride 2, as TensorFlow's padding ``SAME`` puts them.

    An odd side gets ``(kernel_size - 1) / 2`` at either end; an even side one less at its beginning, so that the last
    window ends there too. The convolution that follows has no padding of its own, and its result is half the size,
    rounded up.

    Args:
        kernel_size: of the convolution, odd.

    Example:
        >>> import torch
        >>> SamePadding(3)(torch.rand(1, 1, 5, 6)).shape  # rows: 1 and 1; columns: 0 and 1
        torch.Size([1, 1, 7, 7])
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.margin = (kernel_size - 1) // 2

    def forward(self, images: Tensor) -> Tensor:
        """Pad ``(B, C, H, W)``."""
        top = self.margin - 1 + images.size(2) % 2
        left = self.margin - 1 + images.size(3) % 2
        return F.pad(images, [left, self.margin, top, self.margin])


class InvertedResidual(nn.Module):
    r"""Expand the channels, convolve each of them, project them down, and add the input where the shapes allow it.

    Both convolutions to the expanded channels are followed by batch normalisation and :math:`\min(\max(x, 0), 6)`, the
    projection by batch normalisation alone: the result is of any sign.

    Source: Sandler et al., MobileNetV2, CVPR 2018, section 3.3.

    Args:
        inputs: channels of the input.
        outputs: channels of the result.
        kernel_size: of the convolution of each channel.
        expansion: expanded channels per channel of the input; 1: there is no expanding convolution.
        norm: from channels to a layer that normalises them.
        stride: of the convolution of each channel, 1 or 2.
        dilation: of the convolution of each channel, where its stride is 1.

    Example:
        >>> import torch
        >>> block = InvertedResidual(16, 24, kernel_size=5, expansion=6, norm=nn.BatchNorm2d, stride=2)
        >>> block(torch.rand(2, 16, 9, 8)).shape
        torch.Size([2, 24, 5, 4])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        expansion: int,
        norm: Norm,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            layers["expand"] = activated(nn.Conv2d(inputs, hidden, kernel_size=1, bias=False), norm)
        depthwise: nn.Conv2d = DilatedDepthwiseConv2d(hidden, kernel_size, dilation)
        if stride == 2:
            layers["pad"] = SamePadding(kernel_size)
            depthwise = nn.Conv2d(hidden, hidden, kernel_size, stride=2, groups=hidden, bias=False)
        layers["depthwise"] = activated(depthwise, norm)
        layers["project"] = nn.Sequential(nn.Conv2d(hidden, outputs, kernel_size=1, bias=False), norm(outputs))
        self.layers = nn.Sequential(layers)
        self.residual = inputs == outputs and stride == 1

    def forward(self, images: Tensor) -> Tensor:
        """Compute the block: ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``, rounded up."""
        result: Tensor = self.layers(images)
        return images + result if self.residual else result


def stages(inputs: int, output_stride: int, norm: Norm) -> list[nn.Sequential]:
    """Blocks of EfficientNet-Lite0 between its first and its last convolution.

    Strides beyond the output stride are left out, and the convolutions that follow are dilated instead: the result at
    every second position is what the network with the stride computes there.

    Source: Tan and Le, EfficientNet, ICML 2019, table 1, stages 2 to 8.

    Args:
        inputs: channels of the first convolution, whose stride is 2.
        output_stride: of the last stage.
        norm: from channels to a layer that normalises them.

    Example:
        >>> [len(blocks) for blocks in stages(32, output_stride=32, norm=nn.BatchNorm2d)]
        [1, 2, 2, 3, 3, 4, 1]
    """
    result: list[nn.Sequential] = []
    reached, dilation = 2, 1
    for count, kernel_size, stride, expansion, outputs in STAGES:
        blocks: list[nn.Module] = []
        for index in range(count):
            step = stride if index == 0 and reached < output_stride else 1
            blocks.append(InvertedResidual(inputs, outputs, kernel_size, expansion, norm, step, dilation))
            if index == 0:
                # the first block of a stage without its stride still sees the resolution before it
                dilation *= stride // step
                reached *= step
            inputs = outputs
        result.append(nn.Sequential(*blocks))
    return result
