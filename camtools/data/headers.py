"""Geometry of a file from its header alone, without its voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from camtools.data.errors import DataError
from camtools.data.file_kinds import is_itk_file, is_photograph
from camtools.data.itk_files import itk_geometry
from camtools.data.nifti_files import nifti_geometry

__all__ = ["header_geometry"]


def header_geometry(source: str | Path) -> tuple[NDArray[Any], tuple[int, ...]] | None:
    """Affine ``(4, 4)`` in RAS, mm, and spatial shape of a volume.

    Returns:
        None for a photograph, and for a file whose header cannot be used: :func:`camtools.data.read_volume` says why.
    """
    if is_photograph(source):
        return None
    read = itk_geometry if is_itk_file(source) else nifti_geometry
    try:
        return read(Path(source))
    except (DataError, OSError, RuntimeError, ImportError):
        return None
