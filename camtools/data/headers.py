"""Geometry of a file from its header alone, without its voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from camtools.data.affines import nifti_affine
from camtools.data.errors import DataError
from camtools.data.itk_files import itk_geometry
from camtools.data.suffixes import is_itk_file, is_photograph

__all__ = ["header_affine", "header_geometry"]


def header_geometry(source: str | Path) -> tuple[NDArray[Any], tuple[int, ...]] | None:
    """Affine ``(4, 4)`` in RAS, mm, and spatial shape; None for a photograph or a file whose header cannot be read.

    What is wrong with such a file is said by :func:`camtools.data.read_volume`.

    Raises:
        DataError: the header can be read, but its affine or unit cannot be used.
    """
    if is_photograph(source):
        return None
    try:
        return itk_geometry(Path(source)) if is_itk_file(source) else nifti_affine(source)
    except DataError:
        raise
    except Exception:
        return None


def header_affine(source: str | Path) -> NDArray[Any] | None:
    """The affine of :func:`header_geometry` alone."""
    found = header_geometry(source)
    return None if found is None else found[0]
