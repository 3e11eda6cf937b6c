"""Correction of the bias field of magnetic resonance images."""

from __future__ import annotations

import importlib.util
from collections.abc import Hashable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from torch import Tensor

from camtools.data.errors import DataError
from camtools.data.geometry import voxel_spacing

__all__ = ["N4BiasFieldd"]


class N4BiasFieldd(MapTransform):
    """Divide every channel of a volume by its bias field, a smooth factor that N4 estimates (Tustison et al., 2010).

    The field is estimated from every ``shrink_factor``-th pixel of all slices and then computed at all voxels. It takes
    seconds to minutes for a volume, so use it before the scaling of the intensities in ``preprocessing#intensity``:
    the prepared slices are then cached. It needs SimpleITK: ``pip install "camtools[n4]"``.

    Args:
        keys: volumes ``(C, X, Y, Z)`` of magnetic resonance images, >= 0, slice axis last.
        shrink_factor: step between the pixels within a slice from which the field is estimated, 1 or more.
        mask: voxels from which the field is estimated: ``"otsu"``, those above Otsu's threshold, or those above a
            number in the units of the file. A strong field needs a number, since Otsu's threshold then cuts the object.
        iterations: largest number of iterations at each level. The grid of the field is twice as fine at each level.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ImportError: SimpleITK is not installed.
        ValueError: an argument outside its range.
        DataError: on a call, if a voxel is negative.
    """

    def __init__(
        self,
        keys: KeysCollection,
        shrink_factor: int = 4,
        mask: str | float = "otsu",
        iterations: Sequence[int] = (50, 50, 50, 50),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if importlib.util.find_spec("SimpleITK") is None:
            raise ImportError(
                "Expected SimpleITK for N4BiasFieldd, found that it is not installed. Run "
                '`pip install "camtools[n4]"`, or leave N4BiasFieldd out.'
            )
        if not isinstance(shrink_factor, int) or shrink_factor < 1:
            raise ValueError(f"Expected shrink_factor to be a whole number >= 1, found {shrink_factor!r}. Give 4.")
        if isinstance(mask, str) and mask != "otsu":
            raise ValueError(f"Expected mask to be 'otsu' or a number, found {mask!r}. Give one of them.")
        if len(iterations) == 0 or min(iterations) < 1:
            raise ValueError(
                f"Expected iterations >= 1 for each level, found {list(iterations)}. Give [50, 50, 50, 50]."
            )
        self.shrink_factor = shrink_factor
        self.mask = mask
        self.iterations = [int(count) for count in iterations]
        self.version = version("SimpleITK")  # another version may find another field: the cache must know it

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Correct each volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            values = torch.as_tensor(volume).as_subclass(Tensor).float()
            if values.amin() < 0:
                raise DataError(
                    f"Expected intensities >= 0 for N4BiasFieldd, found {values.amin():.4g} in "
                    f"{_name(volume)}. Leave N4BiasFieldd out: it is for magnetic resonance images."
                )
            spacing = [float(step) for step in voxel_spacing(volume.affine)] if hasattr(volume, "affine") else [1.0] * 3
            fields = [self._field(channel.cpu().numpy(), spacing) for channel in values]
            field = torch.from_numpy(np.stack(fields)).to(volume.device, torch.float32)
            result[key] = volume / field
        return result

    def _field(self, channel: NDArray[Any], spacing: Sequence[float]) -> NDArray[Any]:
        """Bias field of one channel ``(X, Y, Z)`` at all its voxels, > 0."""
        import SimpleITK

        axes = 2 if channel.shape[2] == 1 else 3  # ITK refuses volumes of one slice
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(channel.T[0] if axes == 2 else channel.T))
        image.SetSpacing(list(spacing[:axes]))
        mask = SimpleITK.OtsuThreshold(image, 0, 1, 200) if self.mask == "otsu" else image > float(self.mask)
        shrink = [min(self.shrink_factor, size) for size in channel.shape[:2]] + [1] * (axes - 2)
        small, small_mask = SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(mask, shrink)
        found = SimpleITK.GetArrayViewFromImage(small)[SimpleITK.GetArrayViewFromImage(small_mask) > 0]
        if found.size == 0 or found.min() == found.max():
            return np.ones_like(channel)  # no voxels to compare
        estimate = SimpleITK.N4BiasFieldCorrectionImageFilter()
        estimate.SetMaximumNumberOfIterations(self.iterations)
        estimate.Execute(small, small_mask)
        field = np.exp(SimpleITK.GetArrayFromImage(estimate.GetLogBiasFieldAsImage(image)))
        return np.asarray(field.T.reshape(channel.shape))


def _name(volume: Any) -> str:
    return str(getattr(volume, "meta", {}).get(ImageMetaKey.FILENAME_OR_OBJ, "a volume"))
