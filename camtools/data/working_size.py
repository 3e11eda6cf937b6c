"""A pixel size and a number of channels for a whole dataset, read from the headers of its images."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from PIL import Image

from camtools.data.errors import DataError
from camtools.data.file_kinds import is_photograph
from camtools.data.geometry import SliceAxis, resolve_slice_axis, voxel_spacing
from camtools.data.headers import header_geometry
from camtools.data.slicing import dataset_slice_axis
from camtools.data.volumes import read_volume

__all__ = ["dataset_channels", "working_pixel_size"]


def working_pixel_size(items: Sequence[dict[str, Any]], pixels: int, slice_axis: SliceAxis = None) -> float:
    """Pixel size at which the longer side of the dataset's slices has a given number of pixels.

    It is the median over the images of side / pixels, rounded to four digits. Only headers are read; files whose
    header cannot be used are left out.

    Args:
        items: items of the dataset, with ``image``.
        pixels: wanted number of pixels of the longer side.
        slice_axis: the setting of the dataset.

    Returns:
        In mm; for photographs, whose files have no spacing, in pixels of the file.

    Raises:
        DataError: no image whose header can be used.

    Example:
        >>> from camtools.data import builtin_dataset, load_datalist
        >>> working_pixel_size(load_datalist(builtin_dataset("tumour", n=4), "training"), pixels=120)
        1.008
    """
    axis = dataset_slice_axis(items, slice_axis)
    sides = [side for item in items if (side := _longer_side(item["image"], axis)) is not None]
    if not sides:
        raise DataError(
            f"Expected images whose headers tell their size, found none among {len(items)}. Give pixel_size, or check "
            "the files: camtools check."
        )
    return float(f"{median(sides) / pixels:.4g}")


def dataset_channels(items: Sequence[dict[str, Any]]) -> int:
    """Number of channels of the first image of a dataset; every image is checked against it when it is read.

    Raises:
        DataError: no items, or a first image that cannot be read.
    """
    if not items:
        raise DataError("Expected images of which the first one tells the number of channels, found none. Add images.")
    return int(read_volume(items[0]["image"]).shape[0])


def _longer_side(source: str, slice_axis: SliceAxis) -> float | None:
    """In mm, or in pixels for a photograph."""
    if is_photograph(source):
        with Image.open(source) as image:
            return float(max(image.size))
    geometry = header_geometry(source)
    if geometry is None:
        return None
    affine, shape = geometry
    across = resolve_slice_axis(affine, shape, slice_axis)
    sides = voxel_spacing(affine) * shape
    return float(max(side for axis, side in enumerate(sides) if axis != across))
