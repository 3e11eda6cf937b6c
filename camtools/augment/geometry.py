"""Sampling of a batch at coordinates that are affine in the row and the column of the result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from camtools.augment.batch import Batch, frame_mask, frames, move

__all__ = ["Coordinates", "check_label_mode", "resample"]

FAR = 1e4  # pixels beyond the canvas, where zero padding fills in


@dataclass
class Coordinates:
    """Where each pixel (i, j) of the result comes from, in pixels of the source.

    y(i, j) = row_y(i) + column_y(j) and x(i, j) = row_x(i) + column_x(j), float64 on the CPU; ``row_*`` are ``(B, h)``
    and ``column_*`` are ``(B, w)``. ``straight (B,)`` says which samples have column_y = row_x = 0 (no rotation).
    """

    row_y: Tensor
    row_x: Tensor
    column_y: Tensor
    column_x: Tensor
    straight: Tensor

    def snapped(self) -> Coordinates:
        """Straight samples at the nearest pixel, halves upwards, as ``interpolate(mode="nearest-exact")`` does."""
        row_y = torch.where(self.straight[:, None], (self.row_y + 0.5).floor(), self.row_y)
        column_x = torch.where(self.straight[:, None], (self.column_x + 0.5).floor(), self.column_x)
        return Coordinates(row_y, self.row_x, self.column_y, column_x, self.straight)

    def grid(self, image: Tensor) -> Tensor:
        """Coordinates of ``grid_sample``, ``(B, h, w, 2)``: x, then y, -1 and 1 at the borders of the canvas."""
        height, width = image.shape[-2:]
        rows = torch.stack([2 * self.row_x / width, (2 * self.row_y + 1) / height - 1], 1)
        columns = torch.stack([(2 * self.column_x + 1) / width - 1, 2 * self.column_y / height], 1)
        rows = move(rows.to(image.dtype), image.device)
        columns = move(columns.to(image.dtype), image.device)
        # a grid of affine_grid takes longer than the sampling, which takes planes of x and y as they are
        return (rows[:, :, :, None] + columns[:, :, None, :]).permute(0, 2, 3, 1)


def check_label_mode(mode: str) -> None:
    """Raise a ValueError unless the mode is known."""
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"Expected label_mode 'bilinear' or 'nearest', found {mode!r}.")


def resample(batch: Batch, coordinates: Coordinates, label_mode: str = "bilinear", fill: float = 0.0) -> Batch:
    """Sample image and pixel labels at the coordinates; what lies outside the source is 0 and ``fill``."""
    image = batch["image"]
    grid = coordinates.grid(image)
    result = dict(batch)
    result["image"] = _sample(image, grid, "bilinear")
    height, width = grid.shape[1:3]
    result["frame"] = torch.tensor([[height, width]]).expand(len(image), 2)
    label = batch.get("label")
    if not isinstance(label, Tensor) or label.ndim < 4:
        return result
    if label_mode == "nearest":
        grid = coordinates.snapped().grid(image)
    values = label.to(image.dtype)
    if fill == 0:
        result["label"] = _sample(values, grid, label_mode).to(label.dtype)
        return result
    values = values - fill
    mask = frame_mask(frames(batch), image)
    if mask is not None:  # the padding of the canvas is 0, not the fill value
        values = torch.where(mask, values, 0)
    result["label"] = (_sample(values, grid, label_mode) + fill).to(label.dtype)
    return result


def _sample(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)
