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
from camtools.data.errors import DataError, damaged, not_one_volume, size_in_words, too_large
from camtools.data.file_kinds import not_the_format
from camtools.data.nifti_files import LARGEST_EXPANSION
from camtools.data.voxels import as_float32

__all__ = ["itk_geometry", "read_itk"]

_HEADER = 1 << 16  # bytes in which a header ends
_COMPRESSED = re.compile(rb"^(?:encoding:\s*|CompressedData\s*=\s*)(gz|bz|true)", re.IGNORECASE | re.MULTILINE)
_DATA_FILE = re.compile(rb"^(?:data ?file:(?!=)|ElementDataFile\s*=)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


def read_itk(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels ``(X, Y, Z)`` and MONAI's metadata, with the affine in RAS as :mod:`nibabel` has it.

    Every type of voxel is read as float32, and a 2D file as a volume of one slice.

    Raises:
        DataError: the voxels lie in another file; it is not one 3D volume with one real value a voxel that float32 can
            hold; the file is truncated, damaged, of another format, or larger than the memory.
        ImportError: ITK is not installed.
    """
    _check_attached(source)
    try:
        import itk
    except ImportError:
        raise ImportError(f"{source} needs ITK, which is not installed: pip install 'camtools[itk]'.") from None
    kind = "NRRD" if source.suffix.lower() in (".nrrd", ".nhdr") else "MetaImage"
    header = itk.ImageIOFactory.CreateImageIO(str(source), itk.CommonEnums.IOFileMode_ReadMode)
    if header is None:
        with source.open("rb") as file:
            raise not_the_format(source, file.read(512), kind)
    try:
        header.SetFileName(str(source))
        header.ReadImageInformation()
        needed = _check_header(source, header, itk)
        # itk.imread, which MONAI's reader calls, knows neither int8 nor int64
        voxel = itk.D if _beyond_float32(header, itk) else itk.F
        reader = itk.ImageFileReader[itk.Image[voxel, 3]].New(FileName=str(source))
        reader.Update()
    except RuntimeError as error:  # its first line names a source file of ITK
        if "allocate memory" in str(error):
            raise too_large(source, needed) from error
        raise damaged(source, "ITK finds no complete image in it") from error
    except MemoryError as error:
        raise too_large(source, needed) from error
    values, metadata = ITKReader().get_data(reader.GetOutput())
    if voxel is itk.D:
        _check_whole_numbers(source, values, header, itk)
    return as_float32(source, values), metadata


def _check_header(source: Path, header: Any, itk: Any) -> int:
    """Stop at what is not one volume of real numbers, and at a claim that the file cannot hold; return its bytes."""
    shape = [header.GetDimensions(axis) for axis in range(header.GetNumberOfDimensions())]
    shape += [1] * (3 - len(shape)) + [header.GetNumberOfComponents()]
    if header.GetPixelType() == itk.CommonEnums.IOPixel_COMPLEX:
        raise DataError(
            f"{source} holds complex voxels: expected real ones. Save the magnitude (or the phase) as a volume of its "
            "own, for example with SimpleITK.ComplexToModulus."
        )
    if math.prod(shape[3:]) > 1:
        raise not_one_volume(source, [*shape[:3], *(size for size in shape[3:] if size > 1)])
    claimed, size = math.prod(shape) * header.GetComponentSize(), source.stat().st_size
    with source.open("rb") as file:
        start = file.read(_HEADER)
    compressed = _COMPRESSED.search(start)
    most: float = size
    if compressed:
        most = math.inf if compressed[1].lower().startswith(b"b") else LARGEST_EXPANSION * size
    if claimed > most:
        raise damaged(
            source,
            f"its header claims {size_in_words(claimed)}, shape {tuple(shape[:3])}, but the file has "
            f"{size_in_words(size)}: no complete image in it",
        )
    return int(math.prod(shape)) * 4


def _beyond_float32(header: Any, itk: Any) -> bool:
    return bool(header.GetComponentSize() > 2 and header.GetComponentType() != itk.CommonEnums.IOComponent_FLOAT)


def _check_whole_numbers(source: Path, values: NDArray[Any], header: Any, itk: Any) -> None:
    """Whole numbers, read as float64, must be the same in float32."""
    if header.GetComponentType() == itk.CommonEnums.IOComponent_DOUBLE:
        return
    largest = float(np.abs(values).max(initial=0))
    if largest >= 2**53 or (largest > 2**24 and (values.astype(np.float32) != values).any()):
        raise DataError(
            f"{source} holds whole numbers up to {largest:.10g}: expected numbers that float32 can hold, as all up to "
            f"{2**24} are. Subtract an offset, divide them, or save the volume as float32, if rounded numbers will do."
        )


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
        header = handle.read(_HEADER).replace(b"\r", b"").partition(b"\n\n")[0]
    found = _DATA_FILE.search(header)
    if found and found[1].upper() != b"LOCAL":
        raise DataError(
            f"{source} is a header whose voxels lie in another file ({found[1].decode(errors='replace')[:100]}): "
            "expected header and voxels in one file. Save it as .mha or .nrrd."
        )
