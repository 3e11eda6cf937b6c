"""Random crops that are resized to one size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from camtools.augment.batch import Batch, between, check_probability, check_range, check_size, frames
from camtools.augment.geometry import Coordinates, check_label_mode, resample

__all__ = ["RandomResizedCrop", "RandomScaleCrop"]


class _ResizedCrop:
    """Sample a box of each frame at ``size``; the subclasses draw the box."""

    boxes: int  # draws that the box needs

    def __init__(self, size: int | Sequence[int], flip_prob: float, label_mode: str) -> None:
        self.size = check_size(size)
        check_probability("flip_prob", flip_prob)
        check_label_mode(label_mode)
        self.flip_prob = flip_prob
        self.label_mode = label_mode
        self.draws = self.boxes + 4  # two offsets, two flips

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """Image and label of height and width ``size``."""
        uniform = uniform.cpu().double()
        frame = frames(batch).double()
        box, centred = self._box(frame, uniform)
        room = frame - box
        offset = (uniform[:, self.boxes : self.boxes + 2] * (room + 1)).floor()
        offset = torch.where(centred[:, None], (room / 2).floor(), offset)
        places = []
        for axis in range(2):
            size = self.size[axis]
            index = torch.arange(size, dtype=torch.float64).expand(len(frame), size)
            flipped = uniform[:, self.boxes + 2 + axis] < self.flip_prob
            index = torch.where(flipped[:, None], size - 1 - index, index)
            length = box[:, axis, None]
            place = ((index + 0.5) * length / size - 0.5).clamp(min=0).minimum(length - 1)
            places.append(offset[:, axis, None] + place)
        straight = torch.ones(len(frame), dtype=torch.bool)
        zeros = [torch.zeros_like(place) for place in places]
        return resample(batch, Coordinates(places[0], zeros[0], zeros[1], places[1], straight), self.label_mode)

    def _box(self, frame: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width of each box ``(B, 2)``, and whether it lies in the centre ``(B,)``."""
        raise NotImplementedError


class RandomResizedCrop(_ResizedCrop):
    """Crop a random area with a random aspect ratio, resize it to ``size``, flip it.

    The distribution is that of torchvision's RandomResizedCrop: up to ten tries, then a crop in the centre. The crop
    is resized as ``interpolate(mode="bilinear", align_corners=False)`` without antialiasing does it, which is the same
    as with antialiasing where the crop is not larger than ``size``.

    Args:
        size: height and width of the result, or one number for both.
        area: smallest and largest share of the frame's area, in (0, 1].
        ratio: smallest and largest width / height, above 0; uniform in its logarithm.
        flip_prob: probability of a flip, for each axis on its own.
        label_mode: ``"bilinear"`` for soft labels, ``"nearest"`` for class numbers.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> crop = RandomResizedCrop(8, area=(0.7, 1.0))
        >>> crop({"image": torch.ones(2, 3, 6, 6)}, torch.rand(2, crop.draws))["image"].shape
        torch.Size([2, 3, 8, 8])
    """

    boxes = 20  # ten tries of area and ratio

    def __init__(
        self,
        size: int | Sequence[int],
        area: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        label_mode: str = "bilinear",
    ) -> None:
        super().__init__(size, flip_prob, label_mode)
        self.area = check_range("area", area, 1e-6, 1)
        self.ratio = check_range("ratio", ratio, 1e-6)

    def _box(self, frame: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        target = frame.prod(1, keepdim=True) * between(uniform[:, 0:20:2], self.area)
        logarithms = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        aspect = between(uniform[:, 1:20:2], logarithms).exp()
        sides = torch.stack([(target / aspect).sqrt().round(), (target * aspect).sqrt().round()], 2)  # (B, 10, 2)
        fits = ((sides > 0) & (sides <= frame[:, None])).all(2)
        first = fits.to(torch.uint8).argmax(1)
        box = sides[torch.arange(len(sides)), first]
        failed = ~fits.any(1)
        height, width = frame.unbind(1)
        shares = width / height
        high = torch.where(shares < self.ratio[0], (width / self.ratio[0]).round(), height)
        wide = torch.where(shares > self.ratio[1], (height * self.ratio[1]).round(), width)
        return torch.where(failed[:, None], torch.stack([high, wide], 1), box), failed


class RandomScaleCrop(_ResizedCrop):
    """Crop a box whose sides are drawn independently, resize it to ``size``, flip it.

    The distribution is that of MONAI's RandScaleCropd (``random_size=True``), Resized (``mode="bilinear"``) and two
    RandFlipd: each side is a uniform integer between ceil(lo s) and ceil(hi s), s the side of the frame.

    Args:
        size: height and width of the result, or one number for both.
        scale: smallest and largest share of each side, in (0, 1].
        flip_prob: probability of a flip, for each axis on its own.
        label_mode: ``"bilinear"`` for soft labels, ``"nearest"`` for class numbers.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> crop = RandomScaleCrop((8, 4), scale=(0.5, 1.0))
        >>> crop({"image": torch.ones(2, 1, 6, 6)}, torch.rand(2, crop.draws))["image"].shape
        torch.Size([2, 1, 8, 4])
    """

    boxes = 2

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.5, 1.0),
        flip_prob: float = 0.5,
        label_mode: str = "bilinear",
    ) -> None:
        super().__init__(size, flip_prob, label_mode)
        self.scale = check_range("scale", scale, 1e-6, 1)

    def _box(self, frame: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        low = (self.scale[0] * frame).ceil()
        high = (self.scale[1] * frame).ceil()
        box = low + (uniform[:, :2] * (high - low + 1)).floor()
        return box, torch.zeros(len(frame), dtype=torch.bool)
