"""Activation maps averaged over an image and its mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from camtools.cams.targets import Target
from camtools.fusion import normalize_max

__all__ = ["MirroredMaps"]


class _Maps(Protocol):
    def __call__(self, images: Tensor, target: Any = None) -> Tensor: ...


class MirroredMaps:
    r"""Average the maps of an image and of its mirror images, mirrored back.

    .. math:: A(x) = \frac{a(x)}{n} \Bigl( \hat A_x + \sum_m m \hat A_{m(x)} \Bigr)

    over the mirror images m along the in-plane axes, with :math:`\hat A` the map divided by its maximum, a(x) the
    maximum of the map of the image itself, and n the number of maps. Noise of the map that does not follow the image is
    averaged away. It costs n times as much as the maps.

    Args:
        cam: ``cam(images, target) -> (B, L, *spatial)``, >= 0.
        axes: one mirror image for each entry: an axis of ``(B, C, *spatial)``.

    Example:
        >>> import torch
        >>> maps = MirroredMaps(lambda images, target=None: images.cumsum(-1))
        >>> maps(torch.tensor([[[[1.0, 1.0]]]]))  # (1/2, 1), (1, 1/2), (1/2, 1), their mean times 2
        tensor([[[[1.3333, 1.6667]]]])
    """

    def __init__(self, cam: _Maps, axes: Sequence[int] = (-1, -2)) -> None:
        self.cam = cam
        self.axes = tuple(axes)

    @property
    def model(self) -> nn.Module:
        """Model of the maps."""
        model: nn.Module = self.cam.model  # type: ignore[attr-defined]
        return model

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the maps."""
        return tuple(self.cam.layers)  # type: ignore[attr-defined]

    def __call__(self, images: Tensor, target: Target = None) -> Tensor:
        """Compute the maps of a batch, as the maps that are averaged."""
        maps = self.cam(images, target=target)
        peaks = maps.flatten(2).amax(dim=2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
        total = normalize_max(maps)
        for axis in self.axes:
            total = total + normalize_max(self.cam(images.flip(axis), target=target)).flip(axis)
        return total * peaks / (1 + len(self.axes))
