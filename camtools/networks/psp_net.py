"""PSPNet: a segmenter that pools the features of a classifier over regions of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks.norms import Norm, NormName, norm_layer
from camtools.networks.sizes import FEWEST_CHANNELS, check_images

__all__ = ["PSPNet", "PyramidPooling"]


class PyramidPooling(nn.Module):
    """Concatenate features with their averages over grids of several sizes, each convolved and resized to the features.

    Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, section 3.2.

    Args:
        inputs: channels C of the features.
        bins: cells per side of each grid. Every level is reduced to C / len(bins) channels (at least 16).
        norm: from channels to a layer that normalises them.

    Attributes:
        outputs: channels of the result.

    Example:
        >>> import torch
        >>> pooling = PyramidPooling(64, bins=(1, 2))
        >>> pooling(torch.rand(2, 64, 9, 7)).shape
        torch.Size([2, 128, 9, 7])
    """

    def __init__(self, inputs: int, bins: Sequence[int], norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        channels = max(FEWEST_CHANNELS, inputs // len(bins))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), *_convolution(inputs, channels, 1, norm)) for size in bins
        )
        self.outputs = inputs + len(bins) * channels

    def forward(self, features: Tensor) -> Tensor:
        """Pool features ``(B, C, H, W)``: ``(B, outputs, H, W)``."""
        pooled = [features]
        for level in self.levels:
            pooled.append(_resize(level(features), features))
        return torch.cat(pooled, dim=1)


class PSPNet(nn.Module):
    """Pyramid scene parsing network on the layers of a classifier of this package.

    The deepest features go through ``PyramidPooling`` and a head; in training, an auxiliary head reads the
    features one stage earlier (:class:`camtools.losses.AuxiliaryLoss` adds its loss). A head is a 3x3 convolution,
    batch normalisation, activation, dropout and a 1x1 convolution to the classes, and its logits are upsampled to the
    images (bilinear, corners not aligned).

    Source: Zhao et al., CVPR 2017, sections 3.2 and 3.3; the segmenter of OEEM (Li et al., MICCAI 2022), section 2.3,
    on ResNet-38.

    Args:
        backbone: :class:`ResNet38`, :class:`ResNet18CAM`, :class:`VGG16CAM`, or a classifier with ``smallest`` and
            ``feature_stages()``: two ``nn.Sequential``, where the second continues from the first, and the last
            convolution of each has as many channels as its output. The layers are shared, not copied; the class
            layer is not used.
        num_classes: number of classes, background included.
        bins: cells per side of each grid of the pyramid.
        channels: of the head (at least 16 remain); the auxiliary head has a quarter of its own inputs.
        dropout: probability of dropping a channel before either class layer.
        auxiliary: whether there is an auxiliary head.
        norm: normalisation of pyramid and heads, see ``camtools.networks.norms.norm_layer``.

    Raises:
        ValueError: another backbone, bins that are not positive, or an unknown norm.

    Example:
        >>> import torch
        >>> from camtools.networks import ResNet38
        >>> segmenter = PSPNet(ResNet38(width=0.03125), channels=16)
        >>> segmenter(torch.rand(2, 3, 64, 48)).shape  # in training: the head and the auxiliary head
        torch.Size([2, 2, 2, 64, 48])
        >>> segmenter.eval()(torch.rand(2, 3, 64, 48)).shape
        torch.Size([2, 2, 64, 48])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int = 2,
        bins: Sequence[int] = (1, 2, 3, 6),
        channels: int = 512,
        dropout: float = 0.1,
        auxiliary: bool = True,
        norm: NormName = "batch",
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise ValueError(f"expected at least one bin, a positive number of cells per side, found {tuple(bins)}")
        layer = norm_layer(norm)
        self.shallow, self.deep, self.smallest = _parts(backbone)
        self.needs_batches = 1 in bins and norm == "batch"
        self.pyramid = PyramidPooling(_outputs(self.deep), bins, layer)
        self.head = _head(self.pyramid.outputs, channels, num_classes, dropout, layer)
        self.auxiliary: nn.Module | None = None
        if auxiliary:
            inputs = _outputs(self.shallow)
            self.auxiliary = _head(inputs, inputs // 4, num_classes, dropout, layer)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images.

        Args:
            images: ``(B, C, H, W)``, as the backbone takes them.

        Returns:
            Logits ``(B, num_classes, H, W)``; in training with an auxiliary head ``(B, 2, num_classes, H, W)``,
            first the logits of the head, then of the auxiliary head.

        Raises:
            ValueError: another number of dimensions, images that are too small, or, in training with a bin of 1, a
                batch of one image, whose pooled features batch normalisation cannot train on.
        """
        check_images(images, self.smallest)
        if self.training and self.needs_batches and images.size(0) == 1:
            raise ValueError(
                "expected at least 2 images per batch (and GPU) to train PSPNet with a bin of 1, found 1: batch "
                "normalisation cannot train on one value per channel; raise the batch size, drop the last batch of an "
                "epoch (drop_last=True), take norm='group', or leave 1 out of bins"
            )
        shallow = self.shallow(images)
        logits = _resize(self.head(self.pyramid(self.deep(shallow))), images)
        if self.auxiliary is not None and self.training:
            logits = torch.stack([logits, _resize(self.auxiliary(shallow), images)], dim=1)
        return logits


def _parts(backbone: nn.Module) -> tuple[nn.Sequential, nn.Sequential, int]:
    if not hasattr(backbone, "feature_stages") or not hasattr(backbone, "smallest"):
        raise ValueError(
            "expected a backbone of PSPNet with feature_stages() and smallest, such as ResNet38, "
            f"found {type(backbone).__name__}"
        )
    stages: Callable[[], tuple[nn.Sequential, nn.Sequential]] = getattr(backbone, "feature_stages")  # noqa: B009
    smallest: int = getattr(backbone, "smallest")  # noqa: B009 - nn.Module hides the types
    return *stages(), smallest


def _outputs(stage: nn.Module) -> int:
    return [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels


def _convolution(inputs: int, outputs: int, kernel_size: int, norm: Norm) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, norm(outputs), nn.ReLU(inplace=True)]


def _head(inputs: int, channels: int, num_classes: int, dropout: float, norm: Norm) -> nn.Sequential:
    channels = max(FEWEST_CHANNELS, channels)
    classes = nn.Conv2d(channels, num_classes, kernel_size=1)
    return nn.Sequential(*_convolution(inputs, channels, 3, norm), nn.Dropout2d(dropout), classes)


def _resize(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)
