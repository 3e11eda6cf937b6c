"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.augment.batch import Batch, between, check_range, frame_mask, frames, move

__all__ = ["ColourJitter"]

GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as torchvision has them


class ColourJitter:
    """Change brightness, contrast, saturation and hue of each sample, in random order.

    The distribution is that of torchvision's ColorJitter. Images have values in [0, 1]. Three channels are colours. Of
    any other number, brightness changes all channels by one factor and contrast each around its own mean; saturation
    and hue do nothing.

    Args:
        brightness: the factor is uniform in [max(0, 1 - b), 1 + b].
        contrast: likewise.
        saturation: likewise.
        hue: the shift is uniform in [-hue, hue], in turns; 0 to 0.5.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> jitter = ColourJitter(brightness=0.5)
        >>> jitter({"image": torch.full((1, 1, 1, 2), 0.5)}, torch.zeros(1, jitter.draws))["image"]
        tensor([[[[0.2500, 0.2500]]]])
    """

    draws = 8  # order of the four changes, their factors

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        limits = []
        for name, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            check_range(name, (0.0, value), 0)
            limits.append((max(0.0, 1 - value), 1 + value))
        check_range("hue", (0.0, hue), 0, 0.5)
        self.limits = [*limits, (-hue, hue)]
        self.changes = [_brightness, _contrast, _saturation, _hue]

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """The batch with new colours."""
        image = batch["image"].clone()
        uniform = uniform.cpu()
        order = uniform[:, :4].argsort(1)
        frame = frames(batch)
        active = [kind for kind in range(4) if self._changes(kind, image.shape[1])]
        for turn in range(4):
            for kind in active:
                chosen = (order[:, turn] == kind).nonzero()[:, 0]
                if len(chosen) == 0:
                    continue
                factor = between(uniform[chosen, 4 + kind], self.limits[kind]).to(image.dtype)
                where = move(chosen, image.device)
                factor = move(factor, image.device).view(-1, 1, 1, 1)
                image[where] = self.changes[kind](image[where], factor, frame[chosen])
        return {**batch, "image": image}

    def _changes(self, kind: int, channels: int) -> bool:
        low, high = self.limits[kind]
        return low != high and (kind < 2 or channels == 3)


def _grey(image: Tensor) -> Tensor:
    if image.shape[1] != 3:
        return image
    return GREY[0] * image[:, :1] + GREY[1] * image[:, 1:2] + GREY[2] * image[:, 2:]


def _blend(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * image + (1 - factor) * other).clamp(0, 1)


def _brightness(image: Tensor, factor: Tensor, frame: Tensor) -> Tensor:
    return (factor * image).clamp(0, 1)


def _contrast(image: Tensor, factor: Tensor, frame: Tensor) -> Tensor:
    pixels = move(frame.prod(1).to(image.dtype), image.device).view(-1, 1, 1, 1)
    mean = _grey(image).sum((2, 3), keepdim=True) / pixels  # the padding is 0
    mask = frame_mask(frame, image)
    blended = _blend(image, mean, factor)
    return blended if mask is None else torch.where(mask, blended, 0)


def _saturation(image: Tensor, factor: Tensor, frame: Tensor) -> Tensor:
    return _blend(image, _grey(image), factor)


def _hue(image: Tensor, factor: Tensor, frame: Tensor) -> Tensor:
    """Turn the hue in HSV space; Smith, Color gamut transform pairs, SIGGRAPH 1978, in closed form."""
    value, brightest = image.max(1, keepdim=True)
    chroma = value - image.amin(1, keepdim=True)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    red, green, blue = image.split(1, 1)
    sectors = torch.cat([(green - blue) / divisor, 2 + (blue - red) / divisor, 4 + (red - green) / divisor], 1)
    hue = sectors.gather(1, brightest) + 6 * factor  # in sixths of a turn
    offsets = torch.tensor([5.0, 3.0, 1.0]).to(image.dtype)
    sixth = (hue + move(offsets, image.device).view(1, 3, 1, 1)) % 6
    return value - chroma * torch.minimum(sixth, 4 - sixth).clamp(0, 1)
