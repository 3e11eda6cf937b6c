"""One case of an image file and a label file: the image is linked, the chosen classes become the object."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camtools.data.errors import DataError
from camtools.data.file_kinds import IMAGE_SUFFIXES, is_itk_file, is_photograph
from camtools.data.files import save_like
from camtools.data.importers.channel_files import Channels, check_count, join_channels, pick_channels
from camtools.data.importers.dataset import Case, describe_mask
from camtools.data.nifti_files import nifti_geometry
from camtools.data.volumes import read_mask, read_volume

__all__ = ["Objects", "link_or_copy", "suffix_of", "write_labelled"]

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


def write_labelled(case: Case, folder: Path, objects: Objects, channels: Channels | None = None) -> dict[str, Any]:
    """Write one case and return its item.

    The image becomes ``<case>_image``, a hard link or a copy, with the suffix of the source. Some channels of a 4D
    image are written as a new file, and so are several files of one channel each, as one 4D NIfTI. The label becomes
    ``<case>_label.nii.gz``, or ``.png`` beside a 2D image: uint8, 1 for the object.

    Args:
        case: its files are the image, or one image for each channel, and the label, which is the last.
        folder: where to write.
        objects: which values are the object.
        channels: which channels of an image file to take; None: the image is taken as it is.

    Raises:
        DataError: a file cannot be read, it has other channels than expected, channels are not on the same voxels, the
            label is not on the voxels of the image, or it has unknown values.
    """
    *sources, label = case.files
    image = _write_image(case.name, sources, folder, channels)
    mask, affine = _mask(sources[0], _geometry(sources[0]), label, objects)
    if is_photograph(label):
        target = folder / f"{case.name}_label.png"
        Image.fromarray(np.ascontiguousarray(mask[:, :, 0].T)).save(target)
    else:
        target = folder / f"{case.name}_label.nii.gz"
        save_like(mask, affine, label, target)
    return {"image": image.name, "label": target.name} | describe_mask(mask, affine)


def _write_image(name: str, sources: Sequence[Path], folder: Path, channels: Channels | None) -> Path:
    if len(sources) > 1:
        image = folder / f"{name}_image.nii.gz"
        join_channels(sources, image)
        return image
    image = folder / f"{name}_image{suffix_of(sources[0])}"
    if channels is None:
        link_or_copy(sources[0], image)
    elif channels.as_stored:
        check_count(sources[0], channels)
        link_or_copy(sources[0], image)
    else:
        pick_channels(sources[0], channels, image)
    return image


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
