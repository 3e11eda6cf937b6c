"""Volumes as the page draws them: whole numbers of 16 bits, slice after slice, in a file that has no name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError, reason
from camtools.data.file_kinds import is_photograph
from camtools.data.geometry import SliceAxis
from camtools.tag.fast_nifti import read_as_stored
from camtools.tag.planes import Plane, photograph_plane, planes_of

__all__ = ["Pixels", "read_pixels"]

THUMB = 48
_LEVELS = 65535
_SAMPLES = 400_000


@dataclass(frozen=True)
class Pixels:
    """A volume, ready to be drawn.

    Attributes:
        voxels: ``(Z, rows, columns)`` uint16, or ``(1, rows, columns, 3)`` uint8 in colour.
        slope: value of a voxel is ``voxels * slope + offset``.
        offset: see ``slope``.
        window: two values, the first drawn black and the second white.
        planes: along the slices, and the two others.
        thumbs: ``(Z, rows, columns)`` uint8, at most 48 pixels high and wide; in colour grey.
    """

    voxels: NDArray[Any]
    slope: float
    offset: float
    window: tuple[float, float]
    planes: tuple[Plane, ...]
    thumbs: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return int(self.voxels.nbytes)

    @property
    def is_colour(self) -> bool:
        """Whether voxels are red, green and blue."""
        return self.voxels.ndim == 4

    def picture(self, axis: int, index: int) -> bytes:
        """One plane: rows from the top, little-endian."""
        plane = self.planes[axis]
        if self.is_colour:
            return bytes(self.voxels[0].tobytes())
        return bytes(np.ascontiguousarray(plane.cut(self.voxels, index), dtype="<u2").tobytes())


def read_pixels(path: Path, slice_axis: SliceAxis = None, pixel_size: float | None = None) -> Pixels:
    """Read a volume for the page.

    Args:
        path: the file.
        slice_axis: as given to :class:`camtools.transforms.SliceAxisLastd`.
        pixel_size: in mm, to which slices are resampled; None: as they are.

    Raises:
        DataError: the file cannot be used.
    """
    found = None if pixel_size is not None else read_as_stored(path, slice_axis)
    if found is None:
        volume = _prepared(path, slice_axis, pixel_size)
        values = np.asarray(volume.as_tensor().numpy())
        if is_photograph(path):
            return _photograph(values)
        found = values[0], np.asarray(volume.affine)
    values, affine = found
    low, high = float(values.min()), float(values.max())
    slope, whole = _slope(values, low, high)
    shape = (values.shape[2], values.shape[1], values.shape[0])
    voxels = _stored(shape, np.uint16, lambda index: _quantised(values[:, :, index].T, low, slope, whole))
    planes = planes_of(affine[:, [2, 1, 0, 3]], shape)  # stored as slices, rows, columns
    window = _window(voxels)
    thumbs = _thumbs(voxels, planes[0], window)
    return Pixels(voxels, slope, low, (window[0] * slope + low, window[1] * slope + low), planes, thumbs)


def _prepared(path: Path, slice_axis: SliceAxis, pixel_size: float | None) -> Any:
    from camtools.transforms import PrepareVolumed

    try:
        return PrepareVolumed(pixel_size, slice_axis)({"image": str(path)})["image"]
    except RuntimeError as error:  # MONAI's, around the one that says what is wrong
        raise DataError(reason(error)) from error


def _slope(values: NDArray[Any], low: float, high: float) -> tuple[float, bool]:
    """Step of the 16 bits, and whether whole numbers stay whole numbers."""
    if high - low <= _LEVELS:
        part = values[..., values.shape[-1] // 2]
        if np.array_equal(part, np.rint(part)):
            return 1.0, True
    return ((high - low) / _LEVELS or 1.0), False


def _quantised(values: NDArray[Any], low: float, slope: float, whole: bool) -> NDArray[Any]:
    scaled = values - np.float32(low)
    return np.asarray(np.rint(scaled if whole else scaled / np.float32(slope)).clip(0, _LEVELS))


def _stored(shape: tuple[int, ...], dtype: Any, slice_of: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
    """An array in a file without a name, which the system removes with the process however that ends."""
    with tempfile.TemporaryFile(prefix="camtools-tag-") as file:
        voxels: NDArray[Any] = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    for index in range(shape[0]):
        voxels[index] = slice_of(index)
    return voxels


def _window(voxels: NDArray[Any]) -> tuple[float, float]:
    """Two of 16-bit levels that leave out the darkest 1 % and the brightest 0.5 %."""
    step = max(1, round((voxels.size / _SAMPLES) ** (1 / 3)))
    sample = np.asarray(voxels[::step, ::step, ::step])
    low, high = np.percentile(sample, [1, 99.5]).tolist()
    if high <= low:
        low, high = float(voxels.min()), float(voxels.max())
    return low, max(high, low + 1)


def _thumbs(voxels: NDArray[Any], plane: Plane, window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    height = plane.size[0] * plane.spacing[0]
    width = plane.size[1] * plane.spacing[1]
    side = THUMB / max(height, width)
    rows = _places(plane.size[0], max(1, round(height * side)))
    columns = _places(plane.size[1], max(1, round(width * side)))
    thumbs = np.empty((len(voxels), len(rows), len(columns)), np.uint8)
    for index in range(len(voxels)):
        small = plane.cut(voxels, index)[rows][:, columns].astype(np.float32)
        thumbs[index] = ((small - low) / (high - low) * 255).clip(0, 255)
    return thumbs


def _places(length: int, count: int) -> NDArray[Any]:
    return ((np.arange(count) + 0.5) * length / count).astype(int)


def _photograph(values: NDArray[Any]) -> Pixels:
    """A picture; 8-bit colours stay as they are."""
    picture = values[..., 0].transpose(2, 1, 0)  # rows, columns, channels
    shape = (1, *picture.shape[:2])
    plane = photograph_plane(shape)
    if picture.shape[2] == 3:
        voxels = _stored((*shape, 3), np.uint8, lambda _: picture.clip(0, 255))
        grey = picture.mean(axis=2)[None]
        return Pixels(voxels, 1.0, 0.0, (0.0, 255.0), (plane,), _thumbs(grey, plane, (0.0, 255.0)))
    low, high = float(values.min()), float(values.max())
    slope, whole = _slope(picture, low, high)
    grey = _stored(shape, np.uint16, lambda _: _quantised(picture[..., 0], low, slope, whole))
    return Pixels(grey, slope, low, (low, max(high, low + slope)), (plane,), _thumbs(grey, plane, _window(grey)))
