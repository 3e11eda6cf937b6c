"""Classifiers for activation maps, by name."""

from __future__ import annotations

import os
from typing import Any, Literal

from torch import nn

from camtools.networks.efficientnet_lite_cam import EfficientNetLite0CAM
from camtools.networks.norms import NormName
from camtools.networks.resnet38 import ResNet38

__all__ = ["cam_classifier"]


def cam_classifier(
    name: Literal["resnet38", "efficientnet_lite0"],
    in_channels: int = 3,
    num_classes: int = 2,
    width: float = 1.0,
    output_stride: Literal[8, 16, 32] = 8,
    norm: NormName = "batch",
    pretrained: bool | str | os.PathLike[str] = False,
    unit_images: bool = False,
) -> nn.Module:
    """Build the classifier that a configuration names.

    Args:
        name: ``"resnet38"`` (:class:`ResNet38`) or ``"efficientnet_lite0"`` (:class:`EfficientNetLite0CAM`).
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on the channel counts; only for ResNet-38.
        output_stride: of the deepest features. The weights are the same for all three, so that a classifier may train
            at 32 or 16, in a fraction of the time, and make its maps at 8.
        norm: normalisation, see ``camtools.networks.norms.norm_layer``.
        pretrained: see the classes.
        unit_images: only for EfficientNet-Lite0; images are in [0, 1], and the network scales them for its weights.

    Raises:
        ValueError: an unknown name, or an option that the network does not have.

    Example:
        >>> type(cam_classifier("resnet38", width=0.03125)).__name__
        'ResNet38'
    """
    options: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes}
    options |= {"norm": norm, "pretrained": pretrained, "output_stride": output_stride}
    if name not in ("resnet38", "efficientnet_lite0"):
        raise ValueError(f"expected name resnet38 or efficientnet_lite0, found {name!r}")
    if name == "efficientnet_lite0":
        if width != 1:
            raise ValueError(f"expected width=1 for efficientnet_lite0, found width={width}; set it to 1")
        return EfficientNetLite0CAM(unit_images=unit_images, **options)
    if unit_images:
        raise ValueError("expected unit_images=False for resnet38, found unit_images=True; set it to False")
    return ResNet38(width=width, **options)
