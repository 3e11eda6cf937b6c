"""ImageNet weights of torchvision's VGG-16 for :class:`camtools.networks.VGG16CAM`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from camtools.networks.unit_images import grey_filters, grey_weight

__all__ = ["Weighted", "load_layers"]

Weighted = nn.Conv2d | nn.Linear

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
FULLY_CONNECTED = (0, 3)  # layer 6 scores ImageNet's classes
LAYERS = (*(f"features.{index}" for index in CONVOLUTIONS), *(f"classifier.{index}" for index in FULLY_CONNECTED))
"""Names of the layers in ``torchvision.models.vgg16``, in the order of the forward pass."""


def load_layers(layers: Sequence[Weighted], state: Mapping[str, Tensor], unit_images: bool = False) -> None:
    """Load the first layers of VGG-16, convolutions and then fully connected ones.

    Args:
        layers: the layers to load, in the order of the forward pass. A first convolution of other channels
            than RGB gets the weights summed over RGB and shared by the channels.
        state: state dictionary of ``torchvision.models.vgg16``.
        unit_images: the images are scaled by ``camtools.networks.unit_images.imagenet_scale``, and the sum is
            :func:`camtools.networks.unit_images.grey_filters`.

    Raises:
        ValueError: a weight is missing or of another shape.
    """
    for name, layer in zip(LAYERS, layers, strict=False):
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        if weight is not None and bias is not None and layer is layers[0] and layer.weight.shape[1] != 3:
            weight, bias = _of_other_images(weight, bias, int(layer.weight.shape[1]), unit_images)
        if weight is None or bias is None or weight.shape != layer.weight.shape:
            found = "missing" if weight is None or bias is None else f"of shape {tuple(weight.shape)}"
            raise ValueError(
                f"expected pretrained to be a state dictionary of torchvision.models.vgg16, found {name} {found}; "
                "pass its file, or pretrained=True to download it"
            )
        layer.load_state_dict({"weight": weight, "bias": bias})


def _of_other_images(weight: Tensor, bias: Tensor, channels: int, unit_images: bool) -> tuple[Tensor, Tensor]:
    if not unit_images:
        return grey_weight(weight, channels), bias
    filters, constant = grey_filters(weight, channels)
    return filters, bias + constant
