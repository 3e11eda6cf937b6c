"""U-Net whose encoder is EfficientNet-Lite0, with ImageNet weights or those of a classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monai.networks.nets import FlexibleUNet
from torch import Tensor
from torch.nn import functional as F

from camtools.networks.lite0_encoder import NAMES
from camtools.networks.norms import NormName

__all__ = ["EfficientNetLite0UNet"]


class EfficientNetLite0UNet(FlexibleUNet):  # type: ignore[misc]
    """Segment slices by MONAI's ``FlexibleUNet`` on :class:`EfficientNetLite0Encoder`.

    Images of any size are padded at their lower and right ends to multiples of 32, by their border, and the logits are
    cropped: the decoder of ``FlexibleUNet`` accepts no other sizes. The network can be scripted and exported.

    Source: Ronneberger et al., U-Net, MICCAI 2015; Tan and Le, EfficientNet, ICML 2019.

    Args:
        in_channels: channels of the images, which are in [0, 1].
        out_channels: number of classes, background included.
        pretrained: False, True (ImageNet), or the file of a trained :class:`EfficientNetLite0CAM` whose layers start
            the encoder.
        decoder_channels: of the five levels of the decoder, deep to shallow. The default costs about as much as the
            encoder.
        norm: of the encoder, ``"batch"`` or ``"frozen"``.

    Raises:
        ValueError: another norm, or weights that do not fit.

    Example:
        >>> import torch
        >>> EfficientNetLite0UNet(in_channels=1)(torch.rand(2, 1, 50, 71)).shape
        torch.Size([2, 2, 50, 71])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        pretrained: bool | str | os.PathLike[str] = False,
        decoder_channels: Sequence[int] = (96, 64, 32, 24, 16),
        norm: NormName = "batch",
    ) -> None:
        names = dict(zip(("batch", "frozen"), NAMES, strict=True))
        if norm not in names:
            raise ValueError(f"expected norm to be one of {', '.join(names)}, found {norm!r}")
        channels = tuple(decoder_channels)
        super().__init__(in_channels, out_channels, names[norm], pretrained=pretrained, decoder_channels=channels)
        self.stride = 32  # of the deepest features

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits ``(B, out_channels, H, W)`` of images ``(B, in_channels, H, W)``."""
        height, width = inputs.shape[2], inputs.shape[3]
        padded = F.pad(inputs, [0, -width % self.stride, 0, -height % self.stride], mode="replicate")
        features = self.encoder(padded)
        logits: Tensor = self.segmentation_head(self.decoder(features, self.skip_connect))
        return logits[:, :, :height, :width]
