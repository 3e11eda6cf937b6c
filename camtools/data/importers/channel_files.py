"""Images of several channels: taken out of one file of four axes, or joined from one file for each channel."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError, damaged, not_one_volume
from camtools.data.volumes import read_volume

__all__ = ["Channels", "check_count", "join_channels", "pick_channels"]

_PART = 1 << 20
_CORRUPT = "its header or its voxels are incomplete or corrupt"
_SAME = 1e-2  # mm by which the affines of two channels may differ


@dataclass(frozen=True)
class Channels:
    """Channels of images: their numbers, from 0, in the order wanted, and the number of all channels."""

    numbers: tuple[int, ...]
    count: int

    @property
    def as_stored(self) -> bool:
        """Whether these are all channels in the order of the file."""
        return self.numbers == tuple(range(self.count))


def pick_channels(source: Path, channels: Channels, target: Path) -> None:
    """Write channels of a 4D NIfTI image as a new image with the same values, affine and header.

    One channel becomes a 3D image, several a 4D one with the channels along its fourth axis.

    Raises:
        DataError: the file is damaged, or has another number of channels.
    """
    check_count(source, channels)
    try:
        _read_to_the_end(source)
        picture: Any = nib.load(source)
        values = _picked(picture, channels.numbers)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds
        raise damaged(source, _CORRUPT) from error
    header = picture.header.copy()
    header.set_data_dtype(values.dtype)
    nib.save(type(picture)(values, picture.affine, header), target)


def check_count(source: Path, channels: Channels) -> None:
    """Check the number of channels of a NIfTI image by its header; images of other formats are left alone.

    Raises:
        DataError: the header cannot be read, or the number is another one.
    """
    if not source.name.lower().endswith((".nii", ".nii.gz")):
        return
    try:
        shape = tuple(nib.load(source).shape)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds
        raise damaged(source, _CORRUPT) from error
    found = math.prod(shape[3:])
    if channels.count == 1 and found > 1:
        raise not_one_volume(source, shape)
    if channels.count != found or (found > 1 and len(shape) != 4):
        raise DataError(
            f"Expected 4D data with {channels.count} channels, as dataset.json says, found the shape {shape} in "
            f"{source}. Copy the file again, or correct dataset.json."
        )


def join_channels(files: Sequence[Path], target: Path) -> None:
    """Write one 4D NIfTI image of one file for each channel, along the fourth axis in the order of the files.

    The header is that of the first file where it is NIfTI. Whole numbers of 16 bits are written as int16, all others
    as float32: no value changes.

    Args:
        files: two or more images of one channel, in any format that :func:`camtools.data.read_volume` reads.
        target: file to write, ``.nii.gz``.

    Raises:
        DataError: a file cannot be used, has several channels itself, or lies on other voxels than the first one.
    """
    volumes = []
    for file in files:
        volume = read_volume(file)
        if volume.shape[0] != 1:
            raise DataError(
                f"Expected one channel in each file of a case, found {volume.shape[0]} in {file}. Split it, or take "
                "the other files out of the folder."
            )
        volumes.append(volume)
    first = volumes[0]
    for file, volume in zip(files, volumes, strict=True):
        shapes = [tuple(one.shape[1:]) for one in (first, volume)]
        apart = float(np.abs(np.asarray(first.affine) - np.asarray(volume.affine)).max())
        if shapes[0] != shapes[1] or apart > _SAME:
            raise DataError(
                f"Expected all channels of a case on the voxels of {files[0]}, found the shapes {shapes[0]} and "
                f"{shapes[1]}, and affines that differ by up to {apart:.3g} mm, in {file}. Resample it onto the first."
            )
    values = _smallest(np.stack([volume[0].numpy() for volume in volumes], axis=-1))
    _save(values, np.asarray(first.affine), files[0], target)


def _save(values: NDArray[Any], affine: NDArray[Any], reference: Path, target: Path) -> None:
    if reference.name.lower().endswith((".nii", ".nii.gz")):
        picture: Any = nib.load(reference)
        header = picture.header.copy()
        header.set_data_dtype(values.dtype)
        header.set_slope_inter(1, 0)
        nib.save(type(picture)(values, picture.affine, header), target)
        return
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, target)


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    """The same values as int16 if they are whole numbers of that range."""
    limits = np.iinfo(np.int16)
    if values.min() >= limits.min and values.max() <= limits.max and np.array_equal(values, np.rint(values)):
        return values.astype(np.int16)
    return values


def _picked(picture: Any, numbers: tuple[int, ...]) -> NDArray[Any]:
    if len(numbers) == 1:
        return np.asanyarray(picture.dataobj[..., numbers[0]])
    values: NDArray[Any] = np.asanyarray(picture.dataobj)[..., list(numbers)]
    return values


def _read_to_the_end(source: Path) -> None:
    """Read every byte: a channel alone would hide a damaged end of the file."""
    if source.name.lower().endswith(".gz"):
        with gzip.open(source) as stream:
            while stream.read(_PART):
                pass
