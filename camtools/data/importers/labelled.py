"""One case of an image file and a label file: the image is linked, the chosen classes become the object."""

from __future__ import annotations

import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camtools.data.errors import DataError, damaged
from camtools.data.file_kinds import IMAGE_SUFFIXES, is_itk_file, is_photograph
from camtools.data.files import save_like
from camtools.data.importers.dataset import Case, describe_mask
from camtools.data.nifti_files import nifti_geometry
from camtools.data.volumes import read_mask, read_volume

__all__ = ["Channel", "Objects", "link_or_copy", "suffix_of", "write_labelled", "write_one_channel"]

_PART = 1 << 20

Geometry: TypeAlias = tuple[NDArray[Any], tuple[int, ...]]


@dataclass(frozen=True)
class Objects:
    """The values of a label that are the object.

    Attributes:
        name: name of the object.
        values: its values; None: every value above 0.
        known: all values that a label may have; None: any whole number >= 0.
        ignored: value of voxels without a known class (nnU-Net's ``ignore``), which no label may have.
    """

    name: str
    values: frozenset[int] | None = None
    known: frozenset[int] | None = None
    ignored: int | None = None


@dataclass(frozen=True)
class Channel:
    """A channel of 4D images: its number, from 0, and the number of all channels."""

    number: int
    count: int


def write_labelled(case: Case, folder: Path, objects: Objects, channel: Channel | None = None) -> dict[str, Any]:
    """Write one case and return its item.

    The image becomes ``<case>_image``, a hard link or a copy, with the suffix of the source; one channel of a 4D image
    is written as a new 3D file. The label becomes ``<case>_label.nii.gz``, or ``.png`` beside a 2D image: uint8, 1 for
    the object.

    Args:
        case: its files are the image and the label.
        folder: where to write.
        objects: which values are the object.
        channel: which channel of a 4D NIfTI image to take; None: the image has one volume.

    Raises:
        DataError: a file cannot be read, the label is not on the voxels of the image, or it has unknown values.
    """
    source, label = case.files
    suffix = suffix_of(source)
    image = folder / f"{case.name}_image{suffix}"
    if channel is None:
        link_or_copy(source, image)
        geometry = _geometry(source)
    else:
        write_one_channel(source, channel, image)
        geometry = nifti_geometry(image)
    mask, affine = _mask(source, geometry, label, objects)
    if is_photograph(label):
        target = folder / f"{case.name}_label.png"
        Image.fromarray(np.ascontiguousarray(mask[:, :, 0].T)).save(target)
    else:
        target = folder / f"{case.name}_label.nii.gz"
        save_like(mask, affine, label, target)
    return {"image": image.name, "label": target.name} | describe_mask(mask, affine)


def write_one_channel(source: Path, channel: Channel, target: Path) -> None:
    """Write one channel of a 4D NIfTI image as a 3D image with the same values, affine and header.

    Raises:
        DataError: the file is damaged, or has another number of channels.
    """
    try:
        _read_to_the_end(source)
        picture: Any = nib.load(source)
        shape = picture.shape
        if len(shape) == 4 and shape[3] == channel.count:
            values = np.asanyarray(picture.dataobj[..., channel.number])
    except Exception as error:  # nibabel, gzip and zlib raise many kinds
        raise damaged(source, "its header or its voxels are incomplete or corrupt") from error
    if len(shape) != 4 or shape[3] != channel.count:
        raise DataError(
            f"Expected 4D data with {channel.count} channels, as dataset.json says, found the shape {shape} in "
            f"{source}. Copy the file again, or correct dataset.json."
        )
    header = picture.header.copy()
    header.set_data_dtype(values.dtype)
    nib.save(type(picture)(values, picture.affine, header), target)


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, which uses no space and survives the removal of the source, or else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def suffix_of(path: Path) -> str:
    """Suffix of an image file in lower case.

    Example:
        >>> suffix_of(Path("a.b.NII.GZ")), suffix_of(Path("a.png"))
        ('.nii.gz', '.png')
    """
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), path.suffix.lower())


def _read_to_the_end(source: Path) -> None:
    """Read every byte: a channel alone would hide a damaged end of the file."""
    if source.name.lower().endswith(".gz"):
        with gzip.open(source) as stream:
            while stream.read(_PART):
                pass


def _geometry(source: Path) -> Geometry:
    """Affine and spatial shape of an image; the header is enough for NIfTI, whose voxels are only linked."""
    if is_photograph(source) or is_itk_file(source):
        volume = read_volume(source)
        return np.asarray(volume.affine), tuple(volume.shape[1:])
    return nifti_geometry(source)


def _mask(image: Path, geometry: Geometry, label: Path, objects: Objects) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mask ``(X, Y, Z)`` uint8 and its affine, after a check against the image."""
    affine, shape = geometry[0], (*geometry[1], 1)[:3]
    volume = read_mask(label)
    labels, own = volume[0].numpy().astype(np.int64), np.asarray(volume.affine)
    apart = float(np.abs(affine - own).max())
    if labels.shape != shape or apart > 1e-2:
        raise DataError(
            f"Expected {label} on the voxels of {image}, found the shapes {labels.shape} and {shape}, and affines "
            f"that differ by up to {apart:.3g} mm. Resample the label onto its image, or copy the case again."
        )
    values = np.unique(labels)
    _check_values(label, set(values.tolist()), objects)
    if objects.values is None:
        return (labels > 0).astype(np.uint8), own
    return np.isin(labels, sorted(objects.values)).astype(np.uint8), own


def _check_values(label: Path, found: set[int], objects: Objects) -> None:
    if objects.ignored is not None and objects.ignored in found:
        raise DataError(
            f"Expected a class for every voxel, found voxels with the label {objects.ignored}, 'ignore', in {label}. "
            "Give them a class, or leave this case out."
        )
    if objects.known is not None and not found <= objects.known:
        raise DataError(
            f"Expected the labels {sorted(objects.known)} of dataset.json, found {sorted(found)[:8]} in {label}. "
            "Copy the file again, or correct dataset.json."
        )
