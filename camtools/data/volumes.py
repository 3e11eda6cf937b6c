"""Reading one volume, with an error that names the file for everything that makes it unusable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, NibabelReader, PILReader
from monai.transforms import EnsureChannelFirst
from monai.utils import ImageMetaKey, MetaKeys
from numpy.typing import NDArray

from camtools.data.datalist import is_itk_file, is_photograph
from camtools.data.errors import DataError, not_one_volume
from camtools.data.geometry import PLANES, SliceAxis, anatomical_axes, slice_axis_of
from camtools.data.headers import header_affine
from camtools.data.itk_files import read_itk

__all__ = ["check_same_geometry", "mask_tags", "read_volume", "slice_tags", "tagged_items"]


def read_volume(path: str | Path) -> MetaTensor:
    """Read NIfTI, NRRD or MetaImage, or a PNG, BMP or TIFF image, as a ``(C, X, Y, Z)`` float32 volume.

    The affine is in RAS, whatever the format. NRRD (``.nrrd``) and MetaImage (``.mha``) need the extra ``itk``.

    A 2D image (PNG, BMP, TIFF) is a volume of one slice, ``(C, X, Y, 1)``; C is 3 for colour.

    Raises:
        DataError: the file is missing, empty, truncated, 4D, holds NaN or infinite voxels, or is a header whose voxels
            lie in another file (``.mhd``, ``.nhdr``).
        ImportError: the file is NRRD or MetaImage, and ITK is not installed.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"Expected an image at {source}, found no such file.")
    if source.stat().st_size == 0:
        raise DataError(f"{source} is empty (0 bytes). Copy or export the file again.")
    try:
        affine = header_affine(source)  # before the voxels: MONAI's readers end in errors of linear algebra
        values, header = _read(source)
        if affine is not None:
            header |= {MetaKeys.AFFINE: affine, MetaKeys.ORIGINAL_AFFINE: affine.copy()}
        header[ImageMetaKey.FILENAME_OR_OBJ] = str(source)  # MONAI's SaveImage names its files after it
        image = EnsureChannelFirst()(MetaTensor.ensure_torch_and_prune_meta(values.astype(np.float32), header))
    except (DataError, ImportError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"{source} cannot be read ({type(error).__name__}: {reason}). The file is truncated "
            "or not an image of the format its name says: copy or export it again."
        ) from error
    colour = image.ndim == 3  # a 2D image; in a 3D file several channels are a time series or modalities
    if colour:
        image = image.unsqueeze(-1)
    if image.ndim != 4 or (image.shape[0] > 1 and not colour):
        shape = tuple(image.shape[1:]) + ((image.shape[0],) if image.shape[0] > 1 else ())
        raise not_one_volume(source, shape)
    if image.numel() == 0:
        raise DataError(f"{source} holds no voxels: its shape is {tuple(image.shape[1:])}.")
    bad = int((~torch.isfinite(image.as_tensor())).sum())
    if bad:
        raise DataError(
            f"{source} holds {bad} NaN or infinite voxels of {image.numel()}: expected finite values. "
            "Replace them (for example by 0) or export the file again."
        )
    return image


def _read(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    if is_itk_file(source):
        return read_itk(source)
    reader = PILReader() if is_photograph(source) else NibabelReader()
    values, header = reader.get_data(reader.read(source))
    return values, header


def check_same_geometry(image: MetaTensor, mask: MetaTensor, image_path: str, mask_path: str) -> None:
    """Check that a mask lies on the voxels of its image.

    Raises:
        DataError: shape or affine differ.
    """
    if image.shape[1:] != mask.shape[1:]:
        raise DataError(
            f"The mask {mask_path} has shape {tuple(mask.shape[1:])}, but its image {image_path} has "
            f"{tuple(image.shape[1:])}: expected the same. Resample the mask onto its image."
        )
    difference = float((torch.as_tensor(image.affine) - torch.as_tensor(mask.affine)).abs().max())
    if difference > 1e-2:
        raise DataError(
            f"The affine of the mask {mask_path} differs from that of its image {image_path} by up to "
            f"{difference:.3g} mm: expected the same. Resample the mask onto its image or correct its header."
        )


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


def slice_tags(item: dict[str, Any], min_area_fraction: float = 0.0, slice_axis: SliceAxis = None) -> list[int]:
    """Slice tags of a volume: the given ones, else derived from its mask (``mask_tags``).

    Args:
        item: ``image``, and ``slice_labels`` or ``label`` (see :func:`camtools.data.load_datalist`).
        min_area_fraction: 0..1, used only where tags are derived from a mask.
        slice_axis: as given to :class:`camtools.transforms.SliceAxisLastd`.

    Raises:
        DataError: there are neither tags nor a mask, or their number differs from the number of slices.
    """
    image_path = str(item["image"])
    tags = item.get("slice_labels")
    if tags is None and not item.get("label"):
        raise DataError(
            f"{image_path} has neither slice tags nor a mask. Give 'slice_labels' (one 0/1 per slice) in dataset.json."
        )
    source = read_volume(image_path if tags is not None else item["label"])
    axis = slice_axis_of(source, slice_axis)
    if tags is None:
        return mask_tags(source, axis, min_area_fraction)
    slices = source.shape[1 + axis]
    if len(tags) != slices:
        raise DataError(
            f"{image_path} has {slices} slices along axis {axis} (shape {tuple(source.shape[1:])}), but "
            f"{len(tags)} slice tags were given: expected one per slice. {_advice(source, len(tags))}"
        )
    if not set(tags) <= {0, 1}:
        raise DataError(f"The slice tags of {image_path} must be 0 or 1, found {sorted(set(tags))}.")
    return [int(tag) for tag in tags]


def _advice(source: MetaTensor, tags: int) -> str:
    """What to do about a wrong number of tags: they may be those of another axis."""
    fitting = [axis for axis, size in enumerate(source.shape[1:]) if size == tags]
    if len(fitting) != 1:
        return "Correct 'slice_labels' or give slice_axis."
    plane = PLANES[anatomical_axes(np.asarray(source.affine))[fitting[0]]]
    return (
        f"They fit axis {fitting[0]}: where the slices are {plane}, give --slice_axis {plane}; else correct "
        "'slice_labels'."
    )


def tagged_items(
    data: Sequence[dict[str, Any]],
    min_area_fraction: float = 0.0,
    slice_axis: SliceAxis = None,
    keep_masks: bool = False,
) -> list[dict[str, Any]]:
    """Items with their slice tags and without their masks; items that have neither tags nor a mask are left out.

    Args:
        data: volume items.
        min_area_fraction: as for :func:`slice_tags`.
        slice_axis: as for :func:`slice_tags`.
        keep_masks: keep the ``label`` key, for full supervision.
    """
    items = []
    for item in data:
        if item.get("slice_labels") is None and not item.get("label"):
            continue
        tagged = {key: value for key, value in item.items() if key != "label" or keep_masks}
        items.append(tagged | {"slice_labels": slice_tags(item, min_area_fraction, slice_axis)})
    return items
