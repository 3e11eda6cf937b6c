"""Classifiers for activation maps, by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from camtools.networks.efficientnet_lite_cam import EfficientNetLite0CAM
from camtools.networks.resnet18_cam import ResNet18CAM
from camtools.networks.resnet38 import ResNet38
from camtools.networks.unit_images import imagenet_statistics
from camtools.networks.vgg16_cam import VGG16CAM

__all__ = ["Architecture", "cam_classifier", "expected_intensities", "usual_norm"]

Architecture = Literal["vgg16", "resnet18", "resnet38", "efficientnet_lite0"]
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg16": VGG16CAM,
    "resnet18": ResNet18CAM,
    "resnet38": ResNet38,
    "efficientnet_lite0": EfficientNetLite0CAM,
}
NORMS: dict[str, tuple[str, str | None]] = {  # from scratch, and from ImageNet weights
    "vgg16": ("batch", None),
    "resnet18": ("batch", "batch"),
    "resnet38": ("group", "frozen"),
    "efficientnet_lite0": ("group", "frozen"),
}


def cam_classifier(
    name: Architecture,
    in_channels: int = 3,
    num_classes: int = 2,
    width: float = 1.0,
    output_stride: Literal[8, 16, 32] | None = None,
    norm: str | None = "batch",
    pretrained: bool | str | os.PathLike[str] = False,
    unit_images: bool = False,
    head: Literal["average", "fully_connected"] = "average",
    dilated: bool | None = None,
) -> nn.Module:
    """Build the classifier that a configuration names.

    ======================  =============================  =============  =====================  =================
    name                    class                          output stride  norm                   ImageNet weights
    ======================  =============================  =============  =====================  =================
    ``vgg16``               :class:`VGG16CAM`              8, 16          None, batch, instance  download, file
    ``resnet18``            :class:`ResNet18CAM`           8, 16, 32      batch, frozen, group   download, file
    ``resnet38``            :class:`ResNet38`              8, 16, 32      batch, frozen, group   file
    ``efficientnet_lite0``  :class:`EfficientNetLite0CAM`  8, 16, 32      batch, frozen, group   package, file
    ======================  =============================  =============  =====================  =================

    Args:
        name: of the network.
        in_channels: channels of the images.
        num_classes: number of logits.
        width: factor on the channel counts. EfficientNet-Lite0 has no other than 1, and no network has with ImageNet
            weights.
        output_stride: of the deepest features; None: that of the class. The weights are the same for all strides, so
            that a classifier may train at 32 or 16, in a fraction of the time, and make its maps at 8.
        norm: normalisation; see :func:`usual_norm` and ``camtools.networks.norms.norm_layer``.
        pretrained: False starts from random weights, a path reads ImageNet weights. True downloads torchvision's
            (VGG-16, ResNet-18) or takes those of a Python package (EfficientNet-Lite0); there are none for ResNet-38.
        unit_images: images are in [0, 1], and the network begins with the scaling that its ImageNet weights expect.
            The names of the state dictionary stay the same.
        head: ``"fully_connected"`` is VGG-16's own.
        dilated: of VGG-16: True or None: UM-CAM's variant; False: as published. The others have no such variant.

    Raises:
        ValueError: an unknown name, or an option that the network does not have.
        ImportError, RuntimeError: ImageNet weights cannot be had; see the classes.

    Example:
        >>> type(cam_classifier("resnet38", width=0.03125)).__name__
        'ResNet38'
    """
    check_name(name)
    options: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes, "norm": norm}
    options |= {"pretrained": pretrained, "unit_images": unit_images}
    if output_stride is not None:
        options["output_stride"] = output_stride
    if name == "vgg16":
        return VGG16CAM(width=width, head=head, dilated=dilated is not False, **options)
    if head != "average":
        raise ValueError(f"expected head 'average' for {name}, found {head!r}; set it to average, or take vgg16")
    if dilated:
        raise ValueError(f"expected dilated false for {name}, found true; set output_stride to 8, or take vgg16")
    if name != "efficientnet_lite0":
        return NETWORKS[name](width=width, **options)
    if width != 1:
        raise ValueError(f"expected width=1 for efficientnet_lite0, found width={width}; set it to 1")
    return EfficientNetLite0CAM(**options)


def usual_norm(name: Architecture, pretrained: bool | str | os.PathLike[str] = False) -> str | None:
    """Normalisation that suits a network of :func:`cam_classifier`, for its argument ``norm``.

    From scratch, VGG-16 and ResNet-18 have batch normalisation, ResNet-38 and EfficientNet-Lite0 group normalisation.
    With ImageNet weights, VGG-16 has none, as published, ResNet-18 keeps batch normalisation, and the other two freeze
    its statistics and weights.

    Args:
        name: of the network.
        pretrained: whether it starts from ImageNet weights; a path counts as true.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> usual_norm("efficientnet_lite0"), usual_norm("efficientnet_lite0", pretrained=True)
        ('group', 'frozen')
    """
    check_name(name)
    scratch, imagenet = NORMS[name]
    return imagenet if pretrained else scratch


def expected_intensities(name: Architecture, in_channels: int = 3) -> dict[str, list[float]]:
    """Mean and standard deviation of images in [0, 1] that the ImageNet weights of a network expect.

    For images that are normalised before the network, instead of by its ``unit_images``.

    Args:
        name: of the network.
        in_channels: channels of the images.

    Returns:
        ``mean`` and ``std``, of each of three channels, or one for all.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> expected_intensities("efficientnet_lite0")
        {'mean': [0.5], 'std': [0.5]}
    """
    check_name(name)
    if name == "efficientnet_lite0":
        return {"mean": [0.5], "std": [0.5]}
    mean, std = imagenet_statistics(in_channels)
    return {"mean": list(mean), "std": list(std)}


def check_name(name: str) -> None:
    """Check the name of a network.

    Raises:
        ValueError: no network has it.
    """
    if name not in NETWORKS:
        raise ValueError(
            f"expected architecture to be one of {', '.join(NETWORKS)}, found {name!r}; choose one of them"
        )
