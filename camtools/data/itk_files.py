"""Reading NRRD and MetaImage volumes with ITK (extra ``itk``)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ITKReader
from monai.utils import MetaKeys
from numpy.typing import NDArray

from camtools.data.affines import check_affine
from camtools.data.errors import DataError, damaged, not_one_volume, size_in_words, too_large
from camtools.data.file_kinds import not_the_format
from camtools.data.nifti_files import LARGEST_EXPANSION
from camtools.data.voxels import as_float32

__all__ = ["itk_geometry", "itk_unit", "read_itk"]

_HEADER = 1 << 16  # bytes in which a header ends
_COMPRESSED = re.compile(rb"^(?:encoding:\s*|CompressedData\s*=\s*)(gz|bz|true)", re.IGNORECASE | re.MULTILINE)
_DATA_FILE = re.compile(rb"^(?:data ?file:(?!=)|ElementDataFile\s*=)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_UNIT_FIELD = re.compile(r"^(space units|distanceunits)\s*[:=]\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_UNITS = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("", "?", "???", "none", "unknown"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns"), 1e-3),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
}


def read_itk(source: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Voxels ``(X, Y, Z)`` as float32 and MONAI's metadata, with the affine in RAS, mm.

    A 2D file is read as a volume of one slice.

    Raises:
        DataError: the voxels are in another file; the file is not one 3D volume with one real value per voxel that
            float32 can hold; its affine or unit cannot be used; it is truncated, damaged, of another format, or larger
            than the memory.
        ImportError: ITK is not installed.
    """
    start = _start(source)
    _check_attached(source, start)
    try:
        import itk
    except ImportError:
        raise ImportError(f"{source} needs ITK, which is not installed: pip install 'camtools[itk]'.") from None
    needed = 0
    try:
        header = _read_header(source)
        if header is None:
            kind = "MetaImage"
            if source.suffix.lower() in (".nrrd", ".nhdr"):
                kind = "NRRD"
            raise not_the_format(source, start[:512], kind)
        needed = _check_header(source, start, header, itk)
        affine = _affine(source, start, header)
        # itk.imread, which MONAI's reader calls, supports neither int8 nor int64
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
    metadata |= {MetaKeys.AFFINE: affine, MetaKeys.ORIGINAL_AFFINE: affine.copy()}
    return as_float32(source, values), metadata


def itk_geometry(source: Path) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Affine ``(4, 4)`` in RAS, mm, and shape of a file, from its header alone.

    Raises:
        DataError: an affine or a unit that cannot be used.
        ImportError: ITK is not installed.
        RuntimeError: ITK cannot read the header.
    """
    header = _read_header(source)
    if header is None:
        raise RuntimeError(f"ITK does not recognise {source}.")
    return _affine(source, _start(source), header), (*_shape(header), 1, 1)[:3]


def itk_unit(source: Path, start: bytes) -> float:
    r"""Millimetres per unit of length of an NRRD or MetaImage header; 1 where the header names no unit.

    Args:
        source: the file, for messages.
        start: the first bytes of the file, at least its header.

    Raises:
        DataError: a word that is no unit of length, or different units along different axes.

    Example:
        >>> itk_unit(Path("a.nrrd"), b'NRRD0004\nspace units: "um" "um" "um"\n')
        0.001
    """
    found = _UNIT_FIELD.search(_text_header(start).decode("utf-8", errors="replace"))
    if found is None:
        return 1.0
    words = [word.lower() for word in re.findall(r'"([^"]*)"', found[2])] or [found[2].lower()]
    if len(set(words)) > 1 or words[0] not in _UNITS:
        raise DataError(
            f"Expected one unit of length for all axes, such as mm, um or m, found {found[1]} {found[2]} in the header "
            f"of {source}. Correct the header."
        )
    return _UNITS[words[0]]


def _start(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(_HEADER)


def _text_header(start: bytes) -> bytes:
    return start.replace(b"\r", b"").partition(b"\n\n")[0]


def _read_header(source: Path) -> Any:
    """ITK's reader of a file, with the header read; None where ITK does not know the format."""
    import itk

    header = itk.ImageIOFactory.CreateImageIO(str(source), itk.CommonEnums.IOFileMode_ReadMode)
    if header is not None:
        header.SetFileName(str(source))
        header.ReadImageInformation()
    return header


def _shape(header: Any) -> list[int]:
    return [int(header.GetDimensions(axis)) for axis in range(header.GetNumberOfDimensions())]


def _affine(source: Path, start: bytes, header: Any) -> NDArray[Any]:
    axes = min(header.GetNumberOfDimensions(), 3)
    affine = np.eye(4)
    for axis in range(axes):
        affine[:axes, axis] = np.asarray(header.GetDirection(axis))[:axes] * header.GetSpacing(axis)
        affine[axis, 3] = header.GetOrigin(axis)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK's axes point left and to the back
    affine[:3] *= itk_unit(source, start)
    check_affine(affine, source, "spacing, directions and origin")
    return affine


def _check_header(source: Path, start: bytes, header: Any, itk: Any) -> int:
    """Memory in bytes that the volume needs; refuse other data, and more voxels than the file can hold."""
    shape = _shape(header)
    shape += [1] * (3 - len(shape)) + [header.GetNumberOfComponents()]
    if header.GetPixelType() == itk.CommonEnums.IOPixel_COMPLEX:
        raise DataError(
            f"Expected real voxels, found complex voxels in {source}. Save the magnitude (or the phase) as a "
            "separate volume, for example with SimpleITK.ComplexToModulus."
        )
    if math.prod(shape[3:]) > 1:
        raise not_one_volume(source, [*shape[:3], *(size for size in shape[3:] if size > 1)])
    claimed, size = math.prod(shape) * header.GetComponentSize(), source.stat().st_size
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
    return math.prod(shape) * 4


def _beyond_float32(header: Any, itk: Any) -> bool:
    return bool(header.GetComponentSize() > 2 and header.GetComponentType() != itk.CommonEnums.IOComponent_FLOAT)


def _check_whole_numbers(source: Path, values: NDArray[Any], header: Any, itk: Any) -> None:
    """Whole numbers, read as float64, must not change in float32."""
    if header.GetComponentType() == itk.CommonEnums.IOComponent_DOUBLE:
        return
    largest = float(np.abs(values).max(initial=0))
    if largest >= 2**53 or (largest > 2**24 and (values.astype(np.float32) != values).any()):
        raise DataError(
            f"Expected whole numbers that float32 can hold, as all up to {2**24} are, found numbers up to "
            f"{largest:.10g} in {source}. Subtract an offset, divide them, or save the volume as float32 if rounded "
            "numbers are good enough."
        )


def _check_attached(source: Path, start: bytes) -> None:
    """The hash of the file decides whether its results are up to date, so the voxels must be in the file."""
    found = _DATA_FILE.search(_text_header(start))
    if found and found[1].upper() != b"LOCAL":
        raise DataError(
            f"Expected header and voxels in one file, found only a header in {source}: its voxels are in "
            f"{found[1].decode(errors='replace')[:100]}. Save the volume as .mha or .nrrd."
        )
