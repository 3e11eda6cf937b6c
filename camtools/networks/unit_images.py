"""Images in [0, 1], scaled to what ImageNet weights expect, as the first layer of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ScaleUnitImages", "grey_filters", "grey_weight", "imagenet_scale", "imagenet_statistics"]

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's RGB images in [0, 1], as torchvision's weights were trained
STD = (0.229, 0.224, 0.225)


class ScaleUnitImages(nn.Module):
    r"""Scale images x in [0, 1] to :math:`(x - m) / s`. It adds nothing to a state dictionary.

    Args:
        mean: m of each channel, or one for all.
        std: s of each channel, or one for all.

    Example:
        >>> import torch
        >>> ScaleUnitImages()(torch.tensor([0.0, 0.5, 1.0])[:, None, None, None]).flatten()
        tensor([-1.,  0.,  1.])
    """

    # torch.jit.script reads these types, and cannot read them as text (from __future__ import annotations)
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scale ``(B, C, H, W)``."""
        return (images - self.mean) / self.std


def imagenet_statistics(in_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of ImageNet's images in [0, 1], which torchvision's weights expect.

    Of each colour; where images do not have three channels, the averages over the colours.

    Example:
        >>> imagenet_statistics(3)
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        >>> imagenet_statistics(1)
        ((0.449,), (0.226,))
    """
    if in_channels == 3:
        return MEAN, STD
    return (round(sum(MEAN) / 3, 3),), (round(sum(STD) / 3, 3),)


def imagenet_scale(in_channels: int) -> ScaleUnitImages:
    """Scaling by :func:`imagenet_statistics`."""
    return ScaleUnitImages(*imagenet_statistics(in_channels))


def grey_weight(weight: Tensor, channels: int) -> Tensor:
    """Filters that see in equal channels what RGB filters see in a grey image: their sum over RGB, shared evenly.

    Args:
        weight: of a convolution of RGB images, ``(O, 3, h, w)``.
        channels: C, how many the images have.

    Returns:
        ``(O, C, h, w)``.

    Example:
        >>> grey_weight(torch.ones(1, 3, 1, 1), 4).flatten()
        tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """
    return weight.sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def grey_filters(weight: Tensor, channels: int = 1) -> tuple[Tensor, Tensor]:
    r"""Filters for scaled grey images x that see what RGB filters see in a grey image, each colour scaled on its own.

    .. math:: \sum_c w_c \frac{x - m_c}{s_c}
        = \left(\sum_c w_c \frac{\bar s}{s_c}\right) \frac{x - \bar m}{\bar s} + \sum_c w_c \frac{\bar m - m_c}{s_c}

    with m and s of :func:`imagenet_statistics`, of the colours and of the grey image.

    Args:
        weight: of a convolution of RGB images, ``(O, 3, h, w)``.
        channels: C; the filters are shared by so many channels, as by :func:`grey_weight`.

    Returns:
        Weight ``(O, C, h, w)``, and the constant ``(O,)`` that each filter adds. The sum is exact where no padding
        enters it.

    Example:
        >>> weight, constant = grey_filters(torch.ones(1, 3, 1, 1))
        >>> scaled = imagenet_scale(3)(torch.full((1, 3, 1, 1), 0.7)).sum()
        >>> torch.isclose(weight.item() * imagenet_scale(1)(torch.tensor([[[[0.7]]]])) + constant, scaled).item()
        True
    """
    colours, grey = imagenet_scale(3), imagenet_scale(1)
    filters = grey_weight(weight * grey.std / colours.std, channels)
    constant = (weight * (grey.mean - colours.mean) / colours.std).sum(dim=(1, 2, 3))
    return filters, constant
