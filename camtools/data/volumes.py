"""Reading one volume. Every error names the file."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst
from monai.utils import ImageMetaKey

from camtools.data.errors import DataError, too_large
from camtools.data.file_kinds import is_itk_file, is_photograph
from camtools.data.folders import check_file
from camtools.data.itk_files import read_itk
from camtools.data.masks import one_mask
from camtools.data.nifti_files import read_nifti
from camtools.data.photographs import read_photograph

__all__ = ["check_same_geometry", "read_mask", "read_volume"]


def read_volume(path: str | Path) -> MetaTensor:
    """Read NIfTI, NRRD or MetaImage, or a PNG, BMP or TIFF image, as a ``(C, X, Y, Z)`` float32 volume.

    The affine is in RAS, whatever the format. NRRD (``.nrrd``) and MetaImage (``.mha``) need the extra ``itk``.

    A NIfTI file of four axes holds 2 to 16 channels along the fourth one. A 2D image (PNG, BMP, TIFF) is a volume of
    one slice, ``(C, X, Y, 1)``; C is 3 for colour.

    Raises:
        DataError: the file cannot be used. It is missing, empty, damaged, not of the kind that its name says, larger
            than the memory, or a series; its voxels are not real numbers, do not fit float32, or are NaN or infinite;
            or it is a header whose voxels are in another file (``.mhd``, ``.nhdr``, ``.hdr``).
        ImportError: the file is NRRD or MetaImage, and ITK is not installed.
    """
    return _read(Path(path), mask=False)


def read_mask(path: str | Path) -> MetaTensor:
    """Read a mask as a ``(1, X, Y, Z)`` float32 volume of whole numbers: 0 is the background, all others are objects.

    Raises:
        DataError: as for :func:`read_volume`; or the values are fractions, negative, or colours.
        ImportError: as for :func:`read_volume`.
    """
    return one_mask(Path(path), _read(Path(path), mask=True))


def _read(source: Path, mask: bool) -> MetaTensor:
    check_file(source)
    try:
        if source.stat().st_size == 0:
            raise DataError(f"Expected a volume, found an empty file (0 bytes) in {source}. Copy or export it again.")
        image = _volume(source, mask)
    except MemoryError as error:
        raise too_large(source, 0) from error
    except OSError as error:
        raise DataError(
            f"{source} cannot be read ({error.strerror or 'unknown reason'}). Check its permissions and the disk."
        ) from error
    if image.numel() == 0:
        raise DataError(f"Expected voxels, found none in {source} (shape {tuple(image.shape[1:])}). Export it again.")
    bad = int((~torch.isfinite(image.as_tensor())).sum())
    if bad:
        raise DataError(
            f"Expected finite values, found {bad} NaN or infinite voxels of {image.numel()} in {source}. Replace them "
            "(for example by 0) or export the file again."
        )
    return image


def _volume(source: Path, mask: bool) -> MetaTensor:
    """Volume ``(C, X, Y, Z)``, before its values are checked."""
    if is_itk_file(source):
        values, header = read_itk(source)
    elif is_photograph(source):
        values, header = read_photograph(source, numbers=mask)
    else:
        values, header = read_nifti(source)
    header[ImageMetaKey.FILENAME_OR_OBJ] = str(source)  # MONAI's SaveImage takes the file name from it
    image = EnsureChannelFirst()(MetaTensor.ensure_torch_and_prune_meta(values, header))
    if image.ndim == 3:  # a 2D image
        image = image.unsqueeze(-1)
    return image


def check_same_geometry(image: MetaTensor, mask: MetaTensor, image_path: str, mask_path: str) -> None:
    """Check that a mask lies on the voxels of its image.

    Raises:
        DataError: shape or affine differ.
    """
    if image.shape[1:] != mask.shape[1:]:
        raise DataError(
            f"Expected the shape {tuple(image.shape[1:])} of the image {image_path}, found "
            f"{tuple(mask.shape[1:])} in its mask {mask_path}. Resample the mask onto its image."
        )
    difference = float((torch.as_tensor(image.affine) - torch.as_tensor(mask.affine)).abs().max())
    if difference > 1e-2:
        raise DataError(
            f"Expected the affine of the image {image_path}, found one that differs by up to {difference:.3g} mm in "
            f"its mask {mask_path}. Resample the mask onto its image or correct its header."
        )
