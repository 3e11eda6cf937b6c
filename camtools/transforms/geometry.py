"""Loading and geometry: every volume with its slice axis last and one in-plane pixel size, invertibly."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, InvertibleTransform, MapTransform, Orientation, Spacing
from monai.utils import ensure_tuple_rep

from camtools.data.channels import check_channels
from camtools.data.geometry import slice_axis_codes, slice_axis_of
from camtools.data.volumes import read_mask, read_volume

__all__ = ["InPlaneSpacingd", "LoadVolumed", "SliceAxisLastd", "whole_volume"]

Data = Mapping[Hashable, Any]


class LoadVolumed(MapTransform):
    """Read files as ``(C, X, Y, Z)`` float32 volumes; see :func:`camtools.data.read_volume` for the errors.

    The key ``label`` is a mask, of whole numbers and one channel (:func:`camtools.data.volumes.read_mask`).

    Args:
        keys: files to read.
        allow_missing_keys: skip keys that an item does not have.
        channels: of the volume under the key ``image``, as the network takes them; None: any number.

    Raises:
        DataError: a file that cannot be used, or an image of another number of channels.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, channels: int | None = None) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = channels

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Replace each path by its volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            path = result[key]
            result[key] = read_mask(path) if key == "label" else read_volume(path)
            if key == "image":
                check_channels(path, result[key], self.channels)
        return result


class SliceAxisLastd(MapTransform, InvertibleTransform):
    """Turn volumes so that the slice axis is the last one and the in-plane axes run along R, A, S.

    The order of the slices is kept. Built on ``monai.transforms.Orientation``, which records what it did: ``Invertd``
    brings a prediction back to the voxel order of the file.

    Args:
        keys: volumes ``(C, X, Y, Z)`` with an affine.
        slice_axis: array axis of the slices in the file (0, 1, 2); None takes the one with the largest spacing, the
            last one on a tie.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: ``slice_axis`` is not 0, 1 or 2.
    """

    def __init__(self, keys: KeysCollection, slice_axis: int | None = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if slice_axis not in (None, 0, 1, 2):
            raise ValueError(f"slice_axis must be 0, 1, 2 or None (largest spacing), got {slice_axis!r}.")
        self.slice_axis = slice_axis

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Turn each volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            affine = np.asarray(volume.affine)
            axis = slice_axis_of(volume, self.slice_axis)
            result[key] = Orientation(axcodes=slice_axis_codes(affine, axis), labels=_LABELS)(volume)
        return result

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Turn each volume back."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            original = volume.applied_operations.pop()["extra_info"]["original_affine"]
            turn = Orientation(axcodes="".join(nib.aff2axcodes(np.asarray(original))), labels=_LABELS)
            with turn.trace_transform(False):
                result[key] = turn(volume)
        return result


_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


class InPlaneSpacingd(MapTransform, InvertibleTransform):
    """Resample each slice to one pixel size; the distance between slices is left as it is.

    Expects the slice axis last (:class:`SliceAxisLastd`). A thin, invertible wrapper of ``monai.transforms.Spacing``
    (``Spacingd`` of MONAI 1.6 fails inside MONAI Label).

    Args:
        keys: volumes ``(C, X, Y, Z)``.
        pixel_size: in-plane pixel size in mm; None leaves the volume untouched.
        mode: ``"bilinear"`` for images, ``"nearest"`` for masks; one for all keys or one a key.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: ``pixel_size`` is not positive.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixel_size: float | None,
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if pixel_size is not None and pixel_size <= 0:
            raise ValueError(f"pixel_size must be positive, in mm, or None to keep the file's; got {pixel_size!r}.")
        self.pixel_size = pixel_size
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        # a negative entry of pixdim keeps the input's spacing along that axis
        self.spacing = Spacing(pixdim=(pixel_size or 1.0, pixel_size or 1.0, -1.0), dtype=torch.float32)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Resample each volume."""
        result = dict(data)
        for key, mode in self.key_iterator(result, self.mode):
            if self.pixel_size is not None:
                result[key] = self.spacing(result[key], mode=mode)
        return result

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Resample each volume back to the shape it had."""
        result = dict(data)
        for key in self.key_iterator(result):
            if self.pixel_size is not None:
                result[key] = self.spacing.inverse(result[key])
        return result


def whole_volume(pixel_size: float | None = None, slice_axis: int | None = None) -> Compose:
    """Geometry of a whole volume as every bundle prepares it: keys ``image`` and, where there is one, ``label``."""
    keys = ["image", "label"]
    return Compose(
        [
            LoadVolumed(keys, allow_missing_keys=True),
            SliceAxisLastd(keys, slice_axis, allow_missing_keys=True),
            InPlaneSpacingd(keys, pixel_size, ["bilinear", "nearest"], allow_missing_keys=True),
        ]
    )
