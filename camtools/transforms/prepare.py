"""Invertible transforms that load volumes, put the slice axis last, and resample slices to one pixel size."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, InvertibleTransform, MapTransform
from monai.utils import ImageMetaKey, MetaKeys, ensure_tuple, ensure_tuple_rep

from camtools.data.channels import check_channels
from camtools.data.errors import DataError
from camtools.data.geometry import SliceAxis, check_slice_axis, slice_axis_of, turn_to_slices, voxel_spacing
from camtools.data.volumes import read_mask, read_volume
from camtools.transforms.in_plane import sample_in_plane

__all__ = ["InPlaneSpacingd", "LoadVolumed", "PrepareVolumed", "SliceAxisLastd"]

Data = Mapping[Hashable, Any]
Transform = Callable[[Any], Any]

MASK_KEYS = ("label", "mask")
PREPARED_KEYS = ("image", *MASK_KEYS, "cam", "spl")  # files of a volume item, and the pseudo-labels

FEWEST, MOST = 4, 8192  # pixels along a side of a resampled slice
MOST_VOXELS = 2**31


class LoadVolumed(MapTransform):
    """Read files as ``(C, X, Y, Z)`` float32 volumes; see :func:`camtools.data.read_volume` for the errors.

    The key ``label`` is a mask with whole numbers and one channel (``camtools.data.volumes.read_mask``).

    Args:
        keys: files to read.
        allow_missing_keys: skip keys that an item does not have.
        channels: number of channels of ``image`` that the network expects; None accepts any number.

    Raises:
        DataError: a file cannot be used, or the image has another number of channels.
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

    Axes are permuted and reversed, without interpolation. The order of the slices is kept: slice ``k`` stays slice
    ``k``. ``Invertd`` returns a prediction to the voxel order of the file. Volumes of one item with the same shape are
    turned in the same way, since they lie on the same voxels.

    Args:
        keys: volumes ``(C, X, Y, Z)`` with an affine.
        slice_axis: array axis of the slices in the file (0, 1, 2), ``"axial"``, ``"coronal"`` or ``"sagittal"``, or the
            decision for a dataset (:func:`camtools.data.dataset_slice_axis`). None decides from the spacing of the file
            alone. The key ``slice_axis`` of an item overrides this argument.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: ``slice_axis`` has another value.
    """

    def __init__(self, keys: KeysCollection, slice_axis: SliceAxis = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice_axis = check_slice_axis(slice_axis)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Turn each volume."""
        result = dict(data)
        own = result.get("slice_axis")
        slice_axis = self.slice_axis if own is None else check_slice_axis(own)
        turns: dict[tuple[int, ...], Any] = {}
        for key in self.key_iterator(result):
            volume = result[key]
            shape = tuple(volume.shape[1:])
            if shape not in turns:
                turns[shape] = turn_to_slices(np.asarray(volume.affine), slice_axis_of(volume, slice_axis))
            result[key] = self._turned(volume, *turns[shape])
        return result

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Turn each volume back."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key].clone()
            info = self.pop_transform(volume)["extra_info"]
            values = volume.as_tensor().flip([1 + axis for axis in range(3) if info["flips"][axis]])
            back = [1 + info["order"].index(axis) for axis in range(3)]
            result[key] = _with_geometry(values.permute(0, *back), volume, info["affine"])
        return result

    def _turned(self, volume: MetaTensor, order: tuple[int, ...], flips: tuple[bool, ...]) -> MetaTensor:
        values = volume.as_tensor().permute(0, *(1 + axis for axis in order))
        values = values.flip([1 + axis for axis in range(3) if flips[axis]])
        step = torch.zeros(4, 4, dtype=torch.float64)  # from voxels of the result to voxels of the file
        step[3, 3] = 1
        for new, (old, reverse) in enumerate(zip(order, flips, strict=True)):
            step[old, new] = -1 if reverse else 1
            step[old, 3] = values.shape[1 + new] - 1 if reverse else 0
        affine = torch.as_tensor(volume.affine).to(step)
        turned = _with_geometry(values, volume, affine @ step)
        self.push_transform(turned, extra_info={"order": list(order), "flips": list(flips), "affine": affine})
        return turned


class InPlaneSpacingd(MapTransform, InvertibleTransform):
    """Resample each slice to one pixel size. Values of different slices are never mixed.

    Expects the slice axis last (:class:`SliceAxisLastd`). The first pixel keeps its position, and the affine keeps its
    directions: a sheared affine (a CT with gantry tilt) stays sheared. ``Invertd`` restores the shape and the affine.

    Args:
        keys: volumes ``(C, X, Y, Z)``.
        pixel_size: in-plane pixel size in mm; None leaves the volume unchanged.
        mode: ``"bilinear"`` or ``"smooth"`` for images, ``"nearest"`` for masks; one for all keys or one per key. See
            ``camtools.transforms.in_plane.sample_in_plane``.
        allow_missing_keys: skip keys that an item does not have.

    Raises:
        ValueError: ``pixel_size`` is not positive.
        DataError: on a call, if the slices would become too small (below 4 pixels along a side that has more in the
            file) or too large (above 8192, or 2**31 voxels in total). The usual cause is a wrong spacing in the header.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixel_size: float | None,
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if pixel_size is not None and not 0 < pixel_size < float("inf"):
            raise ValueError(
                f"Expected pixel_size to be positive, in mm, found {pixel_size!r}. Give None to keep the pixel size of "
                "the file."
            )
        self.pixel_size = pixel_size
        self.mode = ensure_tuple_rep(mode, len(self.keys))

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Resample each volume."""
        result = dict(data)
        for key, mode in self.key_iterator(result, self.mode):
            if self.pixel_size is not None:
                result[key] = self._resampled(result[key], mode, self.pixel_size)
        return result

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """Resample each volume back to its original shape."""
        result = dict(data)
        for key in self.key_iterator(result):
            if self.pixel_size is not None:
                volume = result[key].clone()
                info = self.pop_transform(volume)["extra_info"]
                first, second = info["steps"]
                values = sample_in_plane(volume.as_tensor(), (1 / first, 1 / second), info["size"], info["mode"])
                result[key] = _with_geometry(values, volume, info["affine"])
        return result

    def _resampled(self, volume: MetaTensor, mode: str, pixel_size: float) -> MetaTensor:
        affine = torch.as_tensor(volume.affine).to(torch.float64)
        spacing = voxel_spacing(affine)[:2]
        old = (int(volume.shape[1]), int(volume.shape[2]))
        steps = (_step(pixel_size, spacing[0]), _step(pixel_size, spacing[1]))
        size = (_new_length(old[0], steps[0]), _new_length(old[1], steps[1]))
        _check_size(volume, spacing, pixel_size, size)
        values = sample_in_plane(volume.as_tensor().float(), steps, size, mode)  # type: ignore[arg-type]
        scale = torch.diag(torch.tensor([*steps, 1.0, 1.0], dtype=torch.float64))
        resampled = _with_geometry(values, volume, affine @ scale)
        self.push_transform(resampled, extra_info={"steps": steps, "size": old, "mode": mode, "affine": affine})
        return resampled


def _step(pixel_size: float, spacing: float) -> float:
    """Size of a new pixel in pixels of the file; 1 if the sizes differ only by the rounding of float32."""
    step = float(pixel_size / spacing)
    return 1.0 if abs(step - 1) < 1e-5 else step


def _new_length(count: int, step: float) -> int:
    length = (count - 1) / step + 1
    halves = round(2 * length) / 2  # the rounding error of the spacing must not add a pixel
    return round(halves if abs(length - halves) < 1e-4 else length)


def _check_size(volume: MetaTensor, spacing: Any, pixel_size: float, size: tuple[int, int]) -> None:
    old = tuple(volume.shape[1:3])
    small = any(new < min(before, FEWEST) for new, before in zip(size, old, strict=True))
    grown = size[0] * size[1] > old[0] * old[1]
    if not small and not (grown and (max(size) > MOST or size[0] * size[1] * volume.shape[3] > MOST_VOXELS)):
        return
    raise DataError(
        f"Expected slices of {FEWEST} to {MOST} pixels along each side, found too {'small' if small else 'large'} "
        f"ones in {volume.meta.get(ImageMetaKey.FILENAME_OR_OBJ, 'a volume')}: {old[0]} x {old[1]} pixels of "
        f"{spacing[0]:.4g} x {spacing[1]:.4g} mm become {size[0]} x {size[1]} pixels of {pixel_size:g} mm "
        "(pixel_size). Correct the spacing or the unit in the header of the file, or pixel_size."
    )


def _with_geometry(values: torch.Tensor, volume: MetaTensor, affine: torch.Tensor) -> MetaTensor:
    """Volume with new values, the metadata of ``volume``, and another affine."""
    meta = dict(volume.meta) | {MetaKeys.AFFINE: affine}
    return MetaTensor(values, meta=meta, applied_operations=list(volume.applied_operations))


class PrepareVolumed(Compose):  # type: ignore[misc]
    """Load whole volumes, put the slice axis last, and resample every slice to one pixel size. It is invertible.

    All bundles use it to prepare volumes for training, maps and prediction. It is the chain :class:`LoadVolumed`,
    :class:`SliceAxisLastd`, :class:`InPlaneSpacingd`, ``intensity``.

    Args:
        pixel_size: in-plane pixel size in mm; None keeps the pixel size of the file.
        slice_axis: as for :class:`SliceAxisLastd`.
        channels: number of image channels that the networks expect; None accepts any number.
        intensity: transform of the prepared image, such as :class:`camtools.transforms.ScaleSlicesd`, or several.
        antialias: average the pixels of the image where the new ones are larger, instead of taking the nearest ones.
        keys: keys of an item that are volumes; missing ones are skipped. ``label`` and ``mask`` are resampled to the
            nearest pixel, all other volumes bilinearly.

    Example:
        >>> prepare = PrepareVolumed(pixel_size=1.0)
        >>> [type(step).__name__ for step in prepare.transforms]
        ['LoadVolumed', 'SliceAxisLastd', 'InPlaneSpacingd']
    """

    def __init__(
        self,
        pixel_size: float | None = None,
        slice_axis: SliceAxis = None,
        channels: int | None = None,
        intensity: Transform | Sequence[Transform] = (),
        keys: KeysCollection = PREPARED_KEYS,
        antialias: bool = False,
    ) -> None:
        keys = ensure_tuple(keys)
        modes = dict.fromkeys(keys, "bilinear") | dict.fromkeys(MASK_KEYS, "nearest")
        if antialias:
            modes["image"] = "smooth"
        super().__init__(
            [
                LoadVolumed(keys, allow_missing_keys=True, channels=channels),
                SliceAxisLastd(keys, slice_axis, allow_missing_keys=True),
                InPlaneSpacingd(keys, pixel_size, [modes[key] for key in keys], allow_missing_keys=True),
                *ensure_tuple(intensity),
            ]
        )
