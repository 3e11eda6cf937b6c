"""NRRD and MetaImage files for tests, written by ITK itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_itk(path: Path, array: np.ndarray, affine: np.ndarray | None = None, vector: bool = False) -> str:
    """Write ``(X, Y, Z)`` with a RAS affine; with ``vector``, the last axis holds the values of each voxel."""
    itk = pytest.importorskip("itk", reason="needs the extra 'itk'")
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.moveaxis(array.T, 0, -1) if vector else array.T
    image = itk.image_from_array(np.ascontiguousarray(voxels), is_vector=vector)
    if affine is not None:
        matrix = RAS_TO_LPS @ affine[:3, :3]
        spacing = np.linalg.norm(matrix, axis=0)
        image.SetDirection(itk.matrix_from_array(matrix / spacing))
        image.SetSpacing(spacing)
        image.SetOrigin(RAS_TO_LPS @ affine[:3, 3])
    itk.imwrite(image, str(path))
    return str(path)
