"""Scaling of the intensities of slices or volumes between two percentiles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from camtools.transforms.scopes import Scope, scope_axes

__all__ = ["ScalePercentilesd"]


class ScalePercentilesd(MapTransform):
    """Clip every channel of every slice or volume at two percentiles, and scale it to [0, 1].

    x' = (min(max(x, l), h) - l) / (h - l), where l and h are the percentiles, interpolated linearly. If l = h, as in a
    slice that is almost empty, l and h are the minimum and the maximum. A constant slice or volume becomes 0.

    MONAI's ``ScaleIntensityRangePercentilesd`` has no version for slices, and does not clip or scale if l = h.

    Args:
        keys: volumes ``(C, X, Y, Z)``, slice axis last, finite.
        lower: lower percentile, 0 to 100.
        upper: upper percentile, above ``lower``, at most 100.
        scope: voxels that share two percentiles: those of a ``"slice"`` or of a ``"volume"``, always of one channel.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> volume = torch.arange(101.0).reshape(1, 101, 1, 1)
        >>> scaled = ScalePercentilesd("image", lower=10, upper=90)({"image": volume})["image"]
        >>> scaled[0, [5, 10, 50, 90, 95], 0, 0]
        tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.5,
        upper: float = 99.5,
        scope: Scope = "volume",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= lower < upper <= 100:
            raise ValueError(
                f"Expected 0 <= lower < upper <= 100, found lower={lower} and upper={upper}. Give percentiles, such as "
                "0.5 and 99.5."
            )
        self.lower = lower
        self.upper = upper
        self.axes = scope_axes(scope)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            low, high = self._limits(volume)
            span = high - low
            # In float64, since neither the span nor the quotient may overflow or vanish.
            scaled = (volume.double() - low).div_(torch.where(span > 0, span, 1.0)).clamp_(0, 1)
            result[key] = scaled.to(torch.promote_types(volume.dtype, torch.float32))
        return result

    def _limits(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Both percentiles of every slice or volume, float64, ``(C, 1, 1, Z)`` or ``(C, 1, 1, 1)``."""
        values = torch.as_tensor(volume).as_subclass(Tensor)
        # Not torch.quantile: older versions of torch refuse volumes of more than 2**24 voxels.
        found = np.percentile(values.cpu().numpy(), [self.lower, self.upper], axis=self.axes, keepdims=True)
        low, high = torch.from_numpy(found).to(values.device, torch.float64)
        equal = low == high
        low = torch.where(equal, values.amin(self.axes, keepdim=True).double(), low)
        high = torch.where(equal, values.amax(self.axes, keepdim=True).double(), high)
        return low, high
