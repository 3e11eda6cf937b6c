"""Zoom, rotation, flips, padding and crop in one sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camtools.augment.batch import Batch, between, check_probability, check_range, check_size, frames
from camtools.augment.geometry import FAR, Coordinates, check_label_mode, resample

__all__ = ["RandomCrop"]


class RandomCrop:
    """Zoom, rotate, flip, pad and crop image and pixel labels by one transform, in one sampling.

    The distribution is that of MONAI's RandZoomd (``keep_size=False``), RandRotated (``padding_mode="zeros"``), two
    RandFlipd, SpatialPadd and RandSpatialCropd, one after the other. A frame of h x w becomes floor(h z) x floor(w z),
    turns about its centre and keeps its size, so its corners are lost. It is padded on both sides to ``size`` and
    cropped at an integer offset. A nearest label is taken at the pixel nearest to the image's position
    (``"nearest-exact"`` of torch). Zoom and rotation together are one interpolation here and two in MONAI.

    Args:
        size: height and width of the result, or one number for both.
        rotation: largest angle in radians, 0 or more; the angle is uniform in [-rotation, rotation].
        rotation_prob: probability of a rotation.
        flip_prob: probability of a flip, for each axis on its own.
        zoom: smallest and largest zoom, above 0; one zoom for both axes.
        padding: ``"zeros"``, or ``"edge"`` to repeat the border of the image. Labels are padded by ``label_fill``.
        label_mode: ``"bilinear"`` for soft labels, ``"nearest"`` for class numbers.
        label_fill: value of the labels outside the frame.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> crop = RandomCrop(4, rotation=0.5)
        >>> batch = {"image": torch.ones(2, 1, 6, 5), "label": torch.tensor([0, 1])}
        >>> crop(batch, torch.rand(2, crop.draws))["image"].shape
        torch.Size([2, 1, 4, 4])
    """

    draws = 7  # zoom, whether to rotate, angle, two flips, two offsets

    def __init__(
        self,
        size: int | Sequence[int],
        rotation: float = 0.0,
        rotation_prob: float = 0.5,
        flip_prob: float = 0.5,
        zoom: Sequence[float] = (1.0, 1.0),
        padding: str = "zeros",
        label_mode: str = "bilinear",
        label_fill: float = 0.0,
    ) -> None:
        self.size = check_size(size)
        self.rotation = check_range("rotation", (0.0, rotation), 0)[1]
        check_probability("rotation_prob", rotation_prob)
        check_probability("flip_prob", flip_prob)
        self.zoom = check_range("zoom", zoom, 1e-3)
        if padding not in ("zeros", "edge"):
            raise ValueError(f"Expected padding 'zeros' or 'edge', found {padding!r}.")
        check_label_mode(label_mode)
        self.rotation_prob = rotation_prob
        self.flip_prob = flip_prob
        self.padding = padding
        self.label_mode = label_mode
        self.label_fill = label_fill

    def __call__(self, batch: Batch, uniform: Tensor) -> Batch:
        """Image and label of height and width ``size``."""
        frame = frames(batch)
        coordinates = self._coordinates(frame, uniform.cpu().double(), self.padding)
        if self.padding == "zeros":
            return resample(batch, coordinates, self.label_mode, self.label_fill)
        label = batch.get("label")
        result = resample({**batch, "label": None}, coordinates)
        result["label"] = label
        if not isinstance(label, Tensor) or label.ndim < 4:
            return result
        coordinates = self._coordinates(frame, uniform.cpu().double(), "zeros")
        # one channel, of which only device and size matter
        plain = {"image": batch["image"][:, :1], "label": label, "frame": frame}
        result["label"] = resample(plain, coordinates, self.label_mode, self.label_fill)["label"]
        return result

    def _coordinates(self, frame: Tensor, uniform: Tensor, padding: str) -> Coordinates:
        zoomed = (frame * between(uniform[:, :1], self.zoom)).floor().clamp(min=1)
        angle = between(uniform[:, 2], (-self.rotation, self.rotation))
        angle = torch.where(uniform[:, 1] < self.rotation_prob, angle, 0.0)
        inside = []
        places = []  # of the result's rows and columns in the zoomed frame
        for axis in range(2):
            place = self._places(axis, zoomed[:, axis], uniform)
            last = zoomed[:, axis, None] - 1
            inside.append((place >= 0) & (place <= last))
            places.append(place.clamp(min=0).minimum(last))
        middle = (zoomed[:, :, None] - 1) / 2
        from_middle = [places[axis] - middle[:, axis] for axis in range(2)]
        cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
        shrink = (frame / zoomed)[:, :, None]  # source pixels per pixel of the zoomed frame
        straight = angle == 0
        starts = []
        for axis in range(2):
            start = (middle[:, axis] + cosine * from_middle[axis] + 0.5) * shrink[:, axis] - 0.5
            clamped = start.clamp(min=0).minimum(frame[:, axis, None] - 1)
            start = torch.where(straight[:, None], clamped, start)  # as F.interpolate does at the border
            starts.append(torch.where(inside[axis], start, FAR) if padding == "zeros" else start)
        row_x = sine * from_middle[0] * shrink[:, 1]
        column_y = -sine * from_middle[1] * shrink[:, 0]
        return Coordinates(starts[0], row_x, column_y, starts[1], straight)

    def _places(self, axis: int, length: Tensor, uniform: Tensor) -> Tensor:
        """Place of each row (or column) of the result in the frame: crop, padding and flip undone."""
        size = self.size[axis]
        before = ((size - length).clamp(min=0) / 2).floor()
        offset = (uniform[:, 5 + axis] * ((length - size).clamp(min=0) + 1)).floor()
        place = torch.arange(size, dtype=torch.float64) + (offset - before)[:, None]
        flipped = uniform[:, 3 + axis] < self.flip_prob
        return torch.where(flipped[:, None], length[:, None] - 1 - place, place)
