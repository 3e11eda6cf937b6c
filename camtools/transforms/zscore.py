"""Z-scores of the intensities of slices or volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from camtools.transforms.scopes import Scope, scope_axes

__all__ = ["ZScored"]

ROUNDING = 1e-12  # of a float64 standard deviation, as a share of the mean


class ZScored(MapTransform):
    """Subtract the mean of every channel of every slice or volume, and divide by its standard deviation.

    x' = (x - m) / s, where s is the deviation of all voxels, divided by their number. A constant slice or volume
    becomes 0. The result is not in [0, 1]: the CRF, the colour distortion and ImageNet's weights need another scaling.

    MONAI's ``NormalizeIntensityd`` has no version for slices, and ``channel_wise`` writes into its input.

    Args:
        keys: volumes ``(C, X, Y, Z)``, slice axis last, finite.
        scope: voxels that share a mean and a deviation: those of a ``"slice"`` or of a ``"volume"``, of one channel.
        nonzero: True takes m and s over the voxels that are not zero, and leaves zeros at zero.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: ``scope`` has another value.

    Example:
        >>> volume = torch.tensor([0.0, 0.0, 4.0, 8.0]).reshape(1, 2, 2, 1)
        >>> ZScored("image", nonzero=True)({"image": volume})["image"].flatten()
        tensor([ 0.,  0., -1.,  1.])
    """

    def __init__(
        self,
        keys: KeysCollection,
        scope: Scope = "volume",
        nonzero: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.axes = scope_axes(scope)
        self.nonzero = nonzero

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise each volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            scores = self._scores(volume)
            result[key] = scores.to(torch.promote_types(volume.dtype, torch.float32))
        return result

    def _scores(self, volume: Tensor) -> Tensor:
        values = volume.double()
        counted = values != 0 if self.nonzero else torch.ones_like(values, dtype=torch.bool)
        count = counted.sum(self.axes, keepdim=True).clamp_min(1)
        mean = torch.where(counted, values, 0.0).sum(self.axes, keepdim=True) / count
        centred = torch.where(counted, values - mean, 0.0)
        deviation = (centred.square().sum(self.axes, keepdim=True) / count).sqrt()
        # Equal values have a mean that is rounded, so their deviation need not be zero.
        varies = deviation > ROUNDING * mean.abs()
        return torch.where(varies, centred / torch.where(varies, deviation, 1.0), 0.0)
