"""Activation maps averaged over views of an image, and over networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams.targets import Target
from camtools.fusion import normalize_max

__all__ = ["AveragedMaps", "MirroredMaps", "MultiScaleMaps"]


class _Maps(Protocol):
    def __call__(self, images: Tensor, target: Any = None) -> Tensor: ...


class AveragedMaps:
    r"""Average the maps of several makers, such as those of the members of an ensemble.

    .. math:: A(x) = \frac{a_1(x)}{n} \sum_{i=1}^n \hat A_i(x)

    with :math:`\hat A_i` the map of maker i divided by its maximum, :math:`a_1(x)` the maximum of the first one's map,
    and n the number of makers. What the makers do not agree on, such as noise of a single network, is averaged away.

    Args:
        makers: each ``maker(images, target=...) -> (B, L, *spatial)``, >= 0, for the same layers and sizes.

    Raises:
        ValueError: no maker.

    Example:
        >>> import torch
        >>> maps = AveragedMaps([lambda images, target=None: images, lambda images, target=None: images ** 2])
        >>> maps(torch.tensor([[[[0.5, 1.0]]]]))
        tensor([[[[0.3750, 1.0000]]]])
    """

    def __init__(self, makers: Sequence[_Maps]) -> None:
        if not makers:
            raise ValueError("makers: expected at least one maker of maps, found none.")
        self.makers = list(makers)

    @property
    def model(self) -> nn.Module:
        """Model of the first maker."""
        model: nn.Module = self.makers[0].model  # type: ignore[attr-defined]
        return model

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the maps."""
        return tuple(self.makers[0].layers)  # type: ignore[attr-defined]

    def views(self, images: Tensor, target: Target) -> Sequence[Callable[[], Tensor]]:
        """What makes each of the maps that are averaged, on the pixels of the images."""
        return [_call(maker, images, target) for maker in self.makers]

    def __call__(self, images: Tensor, target: Target = None) -> Tensor:
        """Compute the maps of a batch, as the maps that are averaged."""
        views = self.views(images, target)
        maps = views[0]()
        peaks = maps.flatten(2).amax(dim=2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
        total = normalize_max(maps)
        for view in views[1:]:
            total = total + normalize_max(view())
        return total * peaks / len(views)


class MirroredMaps(AveragedMaps):
    r"""Average the maps of an image and of its mirror images, mirrored back, as :class:`AveragedMaps` does.

    It costs as many times as much as there are images.

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
        super().__init__([cam])
        self.axes = tuple(axes)

    def views(self, images: Tensor, target: Target) -> Sequence[Callable[[], Tensor]]:
        """The maps of the image, then those of each mirror image."""
        cam = self.makers[0]

        def mirrored(axis: int) -> Callable[[], Tensor]:
            return lambda: cam(images.flip(axis), target=target).flip(axis)

        return [_call(cam, images, target), *[mirrored(axis) for axis in self.axes]]


class MultiScaleMaps(AveragedMaps):
    r"""Average the maps of an image at several sizes, on its own pixels, as :class:`AveragedMaps` does.

    A deep layer has a value for every 16 pixels, for example. In an enlarged image, these cover less of the object.

    Args:
        cam: ``cam(images (B, C, H, W), target) -> (B, L, H, W)``, >= 0.
        scales: sizes relative to the image, each > 0.

    Raises:
        ValueError: no scale, or one that is not positive.

    Example:
        >>> import torch
        >>> maps = MultiScaleMaps(lambda images, target=None: images, scales=[1.0, 2.0])
        >>> maps(torch.rand(2, 1, 8, 6)).shape
        torch.Size([2, 1, 8, 6])
    """

    def __init__(self, cam: _Maps, scales: Sequence[float] = (1.0, 1.25)) -> None:
        super().__init__([cam])
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales: expected one or more positive numbers, found {list(scales)}. Give [1.0].")
        self.scales = tuple(scales)

    def views(self, images: Tensor, target: Target) -> Sequence[Callable[[], Tensor]]:
        """The maps at each size."""
        return [self._view(images, target, scale) for scale in self.scales]

    def _view(self, images: Tensor, target: Target, scale: float) -> Callable[[], Tensor]:
        cam = self.makers[0]
        own = images.shape[2:]
        size = [max(1, round(length * scale)) for length in own]
        if size == list(own):
            return _call(cam, images, target)

        def resized() -> Tensor:
            view = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=scale < 1)
            return F.interpolate(cam(view, target=target), own, mode="bilinear", align_corners=False)

        return resized


def _call(cam: _Maps, images: Tensor, target: Target) -> Callable[[], Tensor]:
    return lambda: cam(images, target=target)
