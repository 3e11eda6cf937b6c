"""Seeds: a few pixels of an activation map that are certainly foreground or background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from camtools.thresholds import check_maps, per_pixel

# Pixels touch along sides and corners within a slice, and never from one slice of the batch to the next.
_WITHIN_SLICE = np.zeros((3, 3, 3), dtype=bool)
_WITHIN_SLICE[1] = True


@dataclass(frozen=True)
class Seeds:
    """Boolean masks ``(B, 1, H, W)`` of a batch of slices.

    Attributes:
        foreground: True at the foreground seed: one pixel per slice, none where the component is empty.
        background: True at the background seeds: one to four pixels per slice; none where the component is empty or
            fills the slice.
        component: the largest connected component of the thresholded map, from which the seeds are taken.
    """

    foreground: torch.Tensor
    background: torch.Tensor
    component: torch.Tensor


def seeds_from_cam(cam: torch.Tensor, threshold: float | torch.Tensor, margin: int = 5) -> Seeds:
    """Foreground and background seeds of activation maps.

    The largest 8-connected component of ``cam > threshold`` is the object (the first in raster order among equals).
    The *foreground* seed is its centroid, rounded to a pixel (halves to the even one) and moved to the nearest pixel of
    the component when it falls outside. The *background* seeds are the corners of its bounding box, grown by ``margin``
    and clamped to the slice. A corner inside the component, which can occur at the border of the slice, is left out.
    If all four are inside, the only background seed is the pixel outside the component that is farthest from the
    foreground seed. A slice without a pixel above the threshold has no seeds.

    Args:
        cam: activation maps, ``(B, 1, H, W)``, finite.
        threshold: one value, or one for each slice ``(B,)``, in the unit of ``cam``.
        margin: pixels by which the bounding box grows on each side, >= 0.

    Returns:
        The seeds, on the device of ``cam``.

    Raises:
        ValueError: wrong shape of ``cam`` or ``threshold``, values that are not finite, or a negative ``margin``.

    Source:
        Fu et al., "UM-CAM", MICCAI 2023, section 2.2.

    Example:
        >>> cam = torch.zeros(1, 1, 9, 9)
        >>> cam[..., 3:6, 3:6] = 1.0
        >>> seeds = seeds_from_cam(cam, threshold=0.5, margin=2)
        >>> seeds.foreground[0, 0].nonzero().tolist()
        [[4, 4]]
        >>> seeds.background[0, 0].nonzero().tolist()
        [[1, 1], [1, 7], [7, 1], [7, 7]]
    """
    check_maps(cam, "cam")
    if margin < 0:
        raise ValueError(f"expected margin >= 0 pixels, found {margin}")
    level = torch.as_tensor(threshold, dtype=cam.dtype, device=cam.device)
    if level.shape not in ((), (len(cam),)):
        raise ValueError(f"expected one threshold or one per slice, shape ({len(cam)},), found {tuple(level.shape)}")
    component = _largest_component((cam > per_pixel(level))[:, 0])
    foreground = _nearest_to_centroid(component)
    background = _corners_outside(component, foreground, margin)
    return Seeds(foreground[:, None], background[:, None], component[:, None])


def _largest_component(mask: torch.Tensor) -> torch.Tensor:
    """Largest component ``(B, H, W)`` of each slice, labelled on the CPU in one call for the whole batch."""
    labels, _ = ndimage.label(mask.cpu().numpy(), structure=_WITHIN_SLICE)
    area = np.bincount(labels.ravel(), minlength=1)
    area[0] = 0
    flat = labels.reshape(len(labels), -1)
    largest = np.take_along_axis(flat, area[flat].argmax(axis=1, keepdims=True), axis=1)
    component = (flat == largest) & (flat > 0)
    return torch.from_numpy(component.reshape(labels.shape)).to(mask.device)


def _nearest_to_centroid(component: torch.Tensor) -> torch.Tensor:
    row, column = _centroid(component)
    return _one_pixel(-_squared_distance(component, row.round(), column.round()), component)


def _corners_outside(component: torch.Tensor, foreground: torch.Tensor, margin: int) -> torch.Tensor:
    on_row = _box_sides(component.any(2), margin)[:, :, None]
    on_column = _box_sides(component.any(1), margin)[:, None, :]
    corners = on_row & on_column & ~component
    farthest = _one_pixel(_squared_distance(component, *_centroid(foreground)), ~component)
    background = torch.where(corners.any((1, 2), keepdim=True), corners, farthest)
    return background & component.any((1, 2), keepdim=True)


def _box_sides(occupied: torch.Tensor, margin: int) -> torch.Tensor:
    """True at the two ends ``(B, N)`` of the occupied stretch after it grew by ``margin``."""
    size = occupied.shape[1]
    position = torch.arange(size, device=occupied.device)
    first = torch.where(occupied, position, size).amin(1, keepdim=True) - margin
    last = torch.where(occupied, position, -1).amax(1, keepdim=True) + margin
    return (position == first.clamp(min=0)) | (position == last.clamp(max=size - 1))


def _one_pixel(score: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """True at the allowed pixel of each slice with the highest score, the first in raster order among equals."""
    flat = torch.where(allowed, score, -torch.inf).flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, flat.argmax(1, keepdim=True), True)
    return chosen.reshape(allowed.shape) & allowed


def _centroid(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean row and mean column ``(B,)`` of the True pixels, 0 where there is none."""
    # torch sums booleans into int32 ten times faster than into its default int64.
    per_row, per_column = mask.sum(2, dtype=torch.int32), mask.sum(1, dtype=torch.int32)
    area = per_row.sum(1).clamp(min=1)
    rows = torch.arange(mask.shape[1], device=mask.device)
    columns = torch.arange(mask.shape[2], device=mask.device)
    return (per_row * rows).sum(1) / area, (per_column * columns).sum(1) / area


def _squared_distance(like: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Squared distance ``(B, H, W)`` in pixels of every pixel to one point ``(B,)`` per slice."""
    rows = torch.arange(like.shape[1], device=like.device)
    columns = torch.arange(like.shape[2], device=like.device)
    return ((rows - row[:, None]) ** 2)[:, :, None] + ((columns - column[:, None]) ** 2)[:, None, :]
