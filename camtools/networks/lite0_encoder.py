"""EfficientNet-Lite0 as the encoder of MONAI's FlexibleUNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn

from camtools.networks.efficientnet_lite_cam import EfficientNetLite0CAM
from camtools.networks.norms import NormName

__all__ = ["EfficientNetLite0Encoder"]

CHANNELS = (16, 24, 40, 112, 320)  # at the ends of stages 2, 3, 4, 6 and 8
NAMES = ("efficientnet_lite0", "efficientnet_lite0_frozen")


class EfficientNetLite0Encoder(nn.Module, BaseEncoder):
    """Features of EfficientNet-Lite0 at five resolutions, for ``monai.networks.nets.FlexibleUNet``.

    Importing :mod:`camtools.networks` adds two names to MONAI's encoders: ``efficientnet_lite0`` and
    ``efficientnet_lite0_frozen``, whose batch normalisation keeps the running statistics of the weights. The state of
    a trained :class:`EfficientNetLite0CAM` fits: its head and its class layer are left out.

    Source: Tan and Le, EfficientNet, ICML 2019, table 1; Ronneberger et al., U-Net, MICCAI 2015, for the use of all
    resolutions.

    Args:
        in_channels: channels of the images, which are in [0, 1].
        pretrained: as for :class:`EfficientNetLite0CAM`.
        spatial_dims: 2.
        norm: ``"batch"`` or ``"frozen"``.

    Raises:
        ValueError: another number of spatial dimensions, or what the classifier refuses.

    Example:
        >>> import torch
        >>> features = EfficientNetLite0Encoder(in_channels=1)(torch.rand(1, 1, 64, 96))
        >>> [tuple(feature.shape[1:]) for feature in features]
        [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
        >>> from monai.networks.nets import FlexibleUNet
        >>> FlexibleUNet(1, 2, "efficientnet_lite0")(torch.rand(1, 1, 64, 96)).shape
        torch.Size([1, 2, 64, 96])
    """

    def __init__(
        self, in_channels: int = 3, pretrained: Any = False, spatial_dims: int = 2, norm: NormName = "batch"
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise ValueError(
                f"expected spatial_dims=2 for the encoder efficientnet_lite0, found {spatial_dims}; it takes slices"
            )
        classifier = EfficientNetLite0CAM(
            in_channels,
            output_stride=32,
            norm=norm,
            pretrained=pretrained,
            unit_images=True,
        )
        self.shallow, self.deep = classifier.feature_stages()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute features of images ``(B, in_channels, H, W)`` at strides 2, 4, 8, 16 and 32, sides rounded up."""
        features: list[torch.Tensor] = []
        x = images
        for name, layer in self.shallow.named_children():
            x = layer(x)
            if name in ("stage2", "stage3", "stage4", "stage6"):
                features.append(x)
        features.append(self.deep(x))
        return features

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a state of an encoder, or of a classifier without its last layers."""
        own = {name: value for name, value in state_dict.items() if not name.startswith(("head.", "classifier."))}
        return super().load_state_dict(own, *args, **kwargs)

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        """Arguments of each name, see MONAI's ``BaseEncoder``."""
        common = {"spatial_dims": 2, "in_channels": 3, "pretrained": False}
        return [common | {"norm": "batch"}, common | {"norm": "frozen"}]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        """Channels of the features of each name."""
        return [CHANNELS, CHANNELS]

    @classmethod
    def num_outputs(cls) -> list[int]:
        """Number of features of each name."""
        return [len(CHANNELS), len(CHANNELS)]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        """Names for ``FlexibleUNet(backbone=...)``."""
        return list(NAMES)


FLEXUNET_BACKBONE.register_class(EfficientNetLite0Encoder)
