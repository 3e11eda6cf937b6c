"""Voxels of any real type as float32, or an error that says why they cannot be converted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.data.errors import DataError

__all__ = ["FloatVoxels", "as_float32", "check_real"]

_EXACT = 2**24  # float32 holds every whole number up to it
_LARGEST = float(np.finfo(np.float32).max)
_LOST = 1e-3  # largest rounding error, as a share of the range of intensities


class FloatVoxels:
    """Voxels as float32, filled part by part, so that memory holds a file only once.

    A value is ``raw * slope + inter``, computed in double precision and rounded once.

    Args:
        source: the file, for messages.
        shape: of the volume.
        slope: factor of the header, finite and not 0.
        inter: offset of the header, finite.

    Raises:
        DataError: :meth:`add` is given whole numbers that float32 cannot hold, or values beyond its range;
            :meth:`volume` finds values so far from 0 that float32 would lose their contrast.
    """

    def __init__(self, source: Path, shape: Sequence[int], slope: float = 1.0, inter: float = 0.0) -> None:
        self.source = source
        self.slope = slope
        self.inter = inter
        self._values = np.empty(tuple(shape), np.float32, order="F")
        self._flat = self._values.reshape(-1, order="F")  # a view
        self._filled = 0
        self._low, self._high = np.inf, -np.inf

    @property
    def scaled(self) -> bool:
        """Whether slope and inter change the values."""
        return (self.slope, self.inter) != (1.0, 0.0)

    def add(self, raw: NDArray[Any]) -> None:
        """Fill in the next values, in the order of the file (the first axis fastest)."""
        target = self._flat[self._filled : self._filled + raw.size]
        self._filled += raw.size
        if not self.scaled and (raw.dtype.itemsize <= 2 or raw.dtype == np.float32):  # all of them are exact
            target[:] = raw
            return
        values = raw
        if self.scaled:
            values = raw.astype(np.longdouble if raw.dtype.itemsize > 8 else np.float64) * self.slope + self.inter
        low, high = float(values.min()), float(values.max())
        self._check_range(low, high)
        self._low, self._high = min(self._low, low), max(self._high, high)
        with np.errstate(over="ignore", invalid="ignore"):
            target[:] = values
            if values.dtype.kind in "iu" and max(-low, high) > _EXACT and (target.astype(raw.dtype) != raw).any():
                raise DataError(
                    f"Expected whole numbers that float32 can hold, as all up to {_EXACT} are, found {raw.dtype} from "
                    f"{raw.min()} to {raw.max()} in {self.source}. Subtract an offset, divide them, or save the volume "
                    "as float32 if rounded numbers are good enough."
                )

    def volume(self) -> NDArray[Any]:
        """All values, after the last :meth:`add`."""
        spread, largest = self._high - self._low, max(-self._low, self._high)
        if 0 < spread < np.inf and largest * 2.0**-24 > _LOST * spread:
            raise DataError(
                f"Expected a range of values that float32 can resolve, found {self._low:.10g} to {self._high:.10g} in "
                f"{self.source}. Subtract the offset and save the volume again."
            )
        return self._values

    def _check_range(self, low: float, high: float) -> None:
        for value in (low, high):
            if np.isfinite(value) and abs(value) > _LARGEST:
                raise DataError(
                    f"Expected values within the range of float32, up to {_LARGEST:.2g}, found {value:.4g} in "
                    f"{self.source}. Divide the volume by a constant, or correct its scaling."
                )


def as_float32(source: Path, values: NDArray[Any]) -> NDArray[Any]:
    """An array in memory as float32; errors as for :class:`FloatVoxels`.

    Example:
        >>> as_float32(Path("a.tif"), np.array([[1, 2]], np.uint16)).dtype
        dtype('float32')
    """
    voxels = FloatVoxels(source, values.shape)
    voxels.add(values.reshape(-1, order="F"))
    return voxels.volume()


def check_real(source: Path, dtype: np.dtype[Any]) -> None:
    """Raise an error where a voxel is not one real number.

    Raises:
        DataError: complex or colour voxels; the message has code that converts them.
    """
    start = f"i = nibabel.load({source.name!r}); nibabel.save(nibabel.Nifti1Image("
    if dtype.kind == "c":
        raise DataError(
            f"Expected real voxels, found complex voxels ({dtype}) in {source}. Save the magnitude (or the phase) "
            f"first, for example in Python: {start}numpy.abs(i.dataobj), i.affine), 'magnitude.nii.gz')"
        )
    if dtype.names:
        raise DataError(
            f"Expected one number per voxel, found colour voxels ({''.join(dtype.names)}) in {source}. The file is "
            f"intact. Convert it to grey values, for example in Python: {start}sum(numpy.asarray(i.dataobj)[c] / 3.0 "
            "for c in 'RGB'), i.affine), 'grey.nii.gz')"
        )
