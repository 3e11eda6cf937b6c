"""Scaling of the intensities of slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform

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
            low = volume.amin(dim=(1, 2), keepdim=True)
            span = volume.amax(dim=(1, 2), keepdim=True) - low
            result[key] = (volume - low) / span.clamp_min(1e-8)
        return result
