"""Kinds of image files, told apart by their suffix."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DETACHED_SUFFIXES", "IMAGE_SUFFIXES", "is_image_name", "is_itk_file", "is_photograph"]

_PHOTOGRAPHS = (".png", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", *_PHOTOGRAPHS)
DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers of voxels in another file: listed, so that reading them can say so."""


def is_image_name(path: str | Path) -> bool:
    """Whether a file is listed as an image, by its suffix.

    Example:
        >>> is_image_name("a.NII.GZ"), is_image_name("a.txt")
        (True, False)
    """
    return str(path).lower().endswith((*IMAGE_SUFFIXES, *DETACHED_SUFFIXES))


def is_photograph(path: str | Path) -> bool:
    """Whether a file is a 2D image without patient axes and millimetres, by its suffix.

    Example:
        >>> is_photograph("a.PNG"), is_photograph("a.nii.gz")
        (True, False)
    """
    return str(path).lower().endswith(_PHOTOGRAPHS)


def is_itk_file(path: str | Path) -> bool:
    """Whether a file is read with ITK, by its suffix: NRRD and MetaImage.

    Example:
        >>> is_itk_file("a.nrrd"), is_itk_file("a.MHA"), is_itk_file("a.nii")
        (True, True, False)
    """
    return str(path).lower().endswith((".nrrd", ".mha", *DETACHED_SUFFIXES))
