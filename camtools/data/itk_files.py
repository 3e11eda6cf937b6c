"""Reading NRRD and MetaImage volumes with ITK (extra ``itk``)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ITKReader
from numpy.typing import NDArray

from camtools.data.affines import check_affine, itk_unit
from camtools.data.errors import DataError, not_one_volume

__all__ = ["itk_geometry", "read_itk"]

_DATA_FILE = re.compile(rb"^(?:data ?file:(?!=)|ElementDataFile\s*=)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


def read_itk(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels ``(X, Y, Z)`` and MONAI's metadata, with the affine in RAS as :mod:`nibabel` has it.

    Every type of voxel is read as float32, and a 2D file as a volume of one slice.

    Raises:
        DataError: the voxels lie in another file, or it is not one 3D volume with one value a voxel.
        ImportError: ITK is not installed.
        OSError: the file is truncated or of another format.
    """
    _check_attached(source)
    try:
        import itk
    except ImportError:
        raise ImportError(f"{source} needs ITK, which is not installed: pip install 'camtools[itk]'.") from None
    try:
        header = itk.ImageIOFactory.CreateImageIO(str(source), itk.CommonEnums.IOFileMode_ReadMode)
        if header is None:
            raise OSError("ITK does not recognise it")
        header.SetFileName(str(source))
        header.ReadImageInformation()
        shape = [header.GetDimensions(axis) for axis in range(header.GetNumberOfDimensions())]
        shape += [1] * (3 - len(shape)) + [header.GetNumberOfComponents()]
        if math.prod(shape[3:]) > 1:
            raise not_one_volume(source, [*shape[:3], *(size for size in shape[3:] if size > 1)])
        # itk.imread, which MONAI's reader calls, knows neither int8 nor int64
        reader = itk.ImageFileReader[itk.Image[itk.F, 3]].New(FileName=str(source))
        reader.Update()
    except RuntimeError as error:  # its first line names a source file of ITK
        raise OSError("ITK finds no complete image in it") from error
    values, metadata = ITKReader().get_data(reader.GetOutput())
    return values, metadata


def itk_geometry(source: Path) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Affine in RAS, in mm, and shape of a file, from its header alone.

    Raises:
        DataError: an affine or a unit that cannot be used.
        ImportError: ITK is not installed.
        RuntimeError: ITK cannot read the header.
    """
    import itk

    header = itk.ImageIOFactory.CreateImageIO(str(source), itk.CommonEnums.IOFileMode_ReadMode)
    if header is None:
        raise RuntimeError(f"ITK does not recognise {source}")
    header.SetFileName(str(source))
    header.ReadImageInformation()
    axes = min(header.GetNumberOfDimensions(), 3)
    affine = np.eye(4)
    for axis in range(axes):
        affine[:axes, axis] = np.asarray(header.GetDirection(axis))[:axes] * header.GetSpacing(axis)
        affine[axis, 3] = header.GetOrigin(axis)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK's axes run to the left and to the back
    affine[:3] *= itk_unit(source)
    check_affine(affine, source, "spacing, directions and origin")
    return affine, (*(int(header.GetDimensions(axis)) for axis in range(axes)), 1, 1)[:3]


def _check_attached(source: Path) -> None:
    """The hash of a file says whether its results are up to date: its voxels must be in it."""
    with source.open("rb") as handle:
        header = handle.read(1 << 16).replace(b"\r", b"").partition(b"\n\n")[0]
    found = _DATA_FILE.search(header)
    if found and found[1].upper() != b"LOCAL":
        raise DataError(
            f"{source} is a header whose voxels lie in another file ({found[1].decode(errors='replace')[:100]}): "
            "expected header and voxels in one file. Save it as .mha or .nrrd."
        )
