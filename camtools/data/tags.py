"""Slice tags: which slices of a volume show the object."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from camtools.data.dataset_items import tag_problem
from camtools.data.errors import DataError
from camtools.data.geometry import PLANES, SliceAxis, anatomical_axes, resolve_slice_axis, slice_axis_of
from camtools.data.headers import header_geometry
from camtools.data.volumes import check_same_geometry, read_mask, read_volume

__all__ = ["mask_tags", "slice_tags"]


def mask_tags(mask: torch.Tensor, axis: int, min_area_fraction: float = 0.0) -> list[int]:
    """Tag of every slice of a ``(1, X, Y, Z)`` mask along array axis ``axis`` (0..2).

    A slice is positive when more than ``min_area_fraction`` of its pixels are foreground.

    Example:
        >>> mask = torch.zeros(1, 2, 2, 3); mask[0, 0, 0, 1] = 1
        >>> mask_tags(mask, axis=2)
        [0, 1, 0]
    """
    fraction = (mask[0] > 0.5).float().movedim(axis, 0).flatten(1).mean(dim=1)
    return [int(value > min_area_fraction) for value in fraction.tolist()]


def slice_tags(
    item: dict[str, Any],
    min_area_fraction: float = 0.0,
    slice_axis: SliceAxis = None,
    image: MetaTensor | None = None,
) -> list[int]:
    """Slice tags of a volume, given or derived from its mask (``mask_tags``).

    Args:
        item: ``image``, and ``slice_labels`` or ``label`` (see :func:`camtools.data.load_datalist`).
        min_area_fraction: 0..1, used only if the tags are derived from a mask.
        slice_axis: as for :class:`camtools.transforms.SliceAxisLastd`.
        image: the volume, if it has been read. The function then checks that the mask lies on its voxels. Given tags
            need only the header of the file.

    Raises:
        DataError: there are neither tags nor a mask; a tag is not 0 or 1; the number of tags is not the number of
            slices; or the mask does not lie on the voxels of ``image``.
    """
    path, tags = str(item["image"]), item.get("slice_labels")
    if tags is not None:
        return _checked(path, tags, slice_axis, image)
    if not item.get("label"):
        raise DataError(
            f"Expected slice tags or a mask, found neither for {path}. Give 'slice_labels' (one 0/1 per slice) in "
            "dataset.json."
        )
    mask = read_mask(item["label"])
    if image is not None:
        check_same_geometry(image, mask, path, item["label"])
    return mask_tags(mask, slice_axis_of(mask, slice_axis), min_area_fraction)


def _checked(path: str, tags: Any, slice_axis: SliceAxis, image: MetaTensor | None) -> list[int]:
    problem = tag_problem(tags if not isinstance(tags, str) else None)
    if problem:
        raise DataError(f"Expected 0 or 1 as slice tags of {path}: {problem} Correct 'slice_labels'.")
    affine, shape = _geometry(path, image)
    axis = resolve_slice_axis(affine, shape, slice_axis)
    if len(tags) != shape[axis]:
        raise DataError(
            f"Expected {shape[axis]} slice tags, one per slice along axis {axis} (shape {shape}), found {len(tags)} "
            f"for {path}. {_advice(affine, shape, len(tags))}"
        )
    return [int(tag) for tag in tags]


def _geometry(path: str, image: MetaTensor | None) -> tuple[Any, tuple[int, ...]]:
    """Affine and spatial shape, from the header if possible."""
    found = header_geometry(path) if image is None else None
    if found is None or len(found[1]) != 3:
        image = read_volume(path) if image is None else image
        return np.asarray(image.affine), tuple(image.shape[1:])
    return found


def _advice(affine: Any, shape: tuple[int, ...], tags: int) -> str:
    """Advice for a wrong number of tags. They may count the slices along another axis."""
    fitting = [axis for axis, size in enumerate(shape) if size == tags]
    if len(fitting) != 1:
        return "Correct 'slice_labels' or give slice_axis."
    plane = PLANES[anatomical_axes(affine)[fitting[0]]]
    return (
        f"The number fits axis {fitting[0]}: if the slices are {plane}, give --slice_axis {plane}. Otherwise correct "
        "'slice_labels'."
    )
