"""Reading one volume, with an error that names the file for everything that makes it unusable."""

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

    A 2D image (PNG, BMP, TIFF) is a volume of one slice, ``(C, X, Y, 1)``; C is 3 for colour.

    Raises:
        DataError: the file is missing, empty, damaged, of another kind than its name says, larger than the memory, 4D,
            holds voxels that are no real numbers, that float32 cannot hold, or that are NaN or infinite, or is a header
            whose voxels lie in another file (``.mhd``, ``.nhdr``, ``.hdr``).
        ImportError: the file is NRRD or MetaImage, and ITK is not installed.
    """
    return _read(Path(path), mask=False)


def read_mask(path: str | Path) -> MetaTensor:
    """Read a mask as a ``(1, X, Y, Z)`` float32 volume of whole numbers: 0 is the background, the others are objects.

    Raises:
        DataError: as for :func:`read_volume`; or the values are fractions, negative, or colours.
        ImportError: as for :func:`read_volume`.
    """
    return one_mask(Path(path), _read(Path(path), mask=True))


def _read(source: Path, mask: bool) -> MetaTensor:
    check_file(source)
    try:
        if source.stat().st_size == 0:
            raise DataError(f"{source} is empty (0 bytes). Copy or export the file again.")
        image = _volume(source, mask)
    except MemoryError as error:
        raise too_large(source, 0) from error
    except OSError as error:
        raise DataError(
            f"{source} cannot be read ({error.strerror or 'unknown reason'}). Check its permissions and the disk."
        ) from error
    if image.numel() == 0:
        raise DataError(f"{source} holds no voxels: its shape is {tuple(image.shape[1:])}. Export the file again.")
    bad = int((~torch.isfinite(image.as_tensor())).sum())
    if bad:
        raise DataError(
            f"{source} holds {bad} NaN or infinite voxels of {image.numel()}: expected finite values. "
            "Replace them (for example by 0) or export the file again."
        )
    return image


def _volume(source: Path, mask: bool) -> MetaTensor:
    """``(C, X, Y, Z)``, of any values."""
    if is_itk_file(source):
        values, header = read_itk(source)
    elif is_photograph(source):
        values, header = read_photograph(source, numbers=mask)
    else:
        values, header = read_nifti(source)
    header[ImageMetaKey.FILENAME_OR_OBJ] = str(source)  # MONAI's SaveImage names its files after it
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
            f"The mask {mask_path} has shape {tuple(mask.shape[1:])}, but its image {image_path} has "
            f"{tuple(image.shape[1:])}: expected the same. Resample the mask onto its image."
        )
    difference = float((torch.as_tensor(image.affine) - torch.as_tensor(mask.affine)).abs().max())
    if difference > 1e-2:
        raise DataError(
            f"The affine of the mask {mask_path} differs from that of its image {image_path} by up to "
            f"{difference:.3g} mm: expected the same. Resample the mask onto its image or correct its header."
        )
