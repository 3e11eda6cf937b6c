"""Scaling of the intensities of slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform
from torch import Tensor

__all__ = ["ScaleSlicesd"]


class ScaleSlicesd(MapTransform):
    """Scale every channel of every slice to [0, 1] by its minimum and maximum. A constant slice becomes 0.

    Args:
        keys: volumes ``(C, X, Y, Z)``, slice axis last.
        allow_missing_keys: skip keys that an item does not have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            low, high = _extremes(volume)
            span = (high - low).clamp_min(1e-8)
            result[key] = (volume - low).to(span.dtype).div_(span)
        return result


def _extremes(volume: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of every slice of ``(C, X, Y, Z)``, each ``(C, 1, 1, Z)``."""
    if volume.stride(3) != 1:
        return volume.amin(dim=(1, 2), keepdim=True), volume.amax(dim=(1, 2), keepdim=True)
    # Neighbours in memory belong to different slices: torch compares whole rows at once if it reduces axis by axis.
    low, high = volume.amin(dim=1, keepdim=True), volume.amax(dim=1, keepdim=True)
    return low.amin(dim=2, keepdim=True), high.amax(dim=2, keepdim=True)
