"""Panels: one slice per case with what the method made of it, and the masks that belong on the same slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from camtools.data.case_names import is_safe_case
from camtools.data.geometry import SliceAxis
from camtools.transforms import LoadVolumed, SliceAxisLastd

__all__ = ["Panel", "load_panel", "mask_on_panel", "read_prepared", "to_display"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Panel:
    """One slice ``(X, Y)`` in prepared geometry: slice axis removed, in-plane axes along R, A, S.

    Attributes:
        case: name of the volume.
        slice_index: index along the slice axis of the file.
        slice_axis: as given to :class:`camtools.transforms.SliceAxisLastd`.
        image: ``(X, Y)`` intensities, or ``(X, Y, 3)`` in colour.
        layers: names of the layers of the maps.
        arrays: what the method made, under the names :class:`camtools.engine.SavePanel` gives: ``maps (L, X, Y)``,
            ``cam`` and ``spl`` in [0, 1], ``mask``, ``foreground_seeds`` and ``background_seeds``. A method leaves out
            what it does not make.
    """

    case: str
    slice_index: int
    slice_axis: SliceAxis
    image: Array
    layers: tuple[str, ...]
    arrays: Mapping[str, Array]


def load_panel(path: str | Path) -> Panel:
    """Read one ``panels/<case>.npz``.

    Raises:
        ValueError: an array is missing or does not have the image's shape, or the case has no name of a file.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    try:
        case, index, axis = str(arrays.pop("case")), int(arrays.pop("slice_index")), str(arrays.pop("slice_axis"))
        image = arrays.pop("image")
    except KeyError as error:
        raise ValueError(f"{path}: expected the array {error}, found {sorted(arrays)}.") from error
    if not is_safe_case(case):
        raise ValueError(f"{path}: expected the name of a case, such as 'p1/t2', found {case!r}.")
    layers = tuple(str(name) for name in arrays.pop("layers", np.array([])))
    for name, array in arrays.items():
        expected = (len(layers), *image.shape[:2]) if name == "maps" else image.shape[:2]
        if array.shape != expected:
            raise ValueError(f"{path}: expected '{name}' of shape {expected}, found {array.shape}.")
    return Panel(case, index, _axis(axis), image, layers, arrays)


def _axis(stored: str) -> SliceAxis:
    """The setting that :class:`camtools.engine.SavePanel` stored: -1 stands for None, a word for a plane."""
    if stored == "-1":
        return None
    return int(stored) if stored.isdigit() else stored


def read_prepared(path: str | Path, slice_axis: SliceAxis) -> MetaTensor:
    """Read a volume ``(C, X, Y, Z)`` with its slice axis last.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    volume: MetaTensor = SliceAxisLastd("image", slice_axis)(LoadVolumed("image")({"image": path}))["image"]
    return volume


def mask_on_panel(path: str | Path, panel: Panel) -> NDArray[np.bool_]:
    """The slice of a mask file that the panel shows, on the panel's pixels.

    The panel may have been resampled in-plane; its first and last pixels then lie on those of the file, so the
    nearest pixel in between is taken.

    Args:
        path: mask ``(X, Y, Z)`` with the geometry of the panel's input, in the input's voxel order.
        panel: says which slice, along which axis of the file.

    Returns:
        ``(X, Y)`` as in ``panel.image``, True on the object.

    Raises:
        ValueError: the mask has no such slice.
        DataError: the file is missing or cannot be read.
    """
    prepared = read_prepared(path, panel.slice_axis)
    slices = prepared.shape[-1]
    if panel.slice_index >= slices:
        raise ValueError(f"{path}: expected slice {panel.slice_index}, which the panel shows, found {slices} slices.")
    mask = prepared.as_tensor()[0, :, :, panel.slice_index].numpy() > 0.5
    nearest = [
        np.linspace(0, size - 1, wanted).round().astype(int)
        for size, wanted in zip(mask.shape, panel.image.shape[:2], strict=True)
    ]
    chosen: NDArray[np.bool_] = mask[np.ix_(*nearest)]
    return chosen


def to_display(array: Array, photograph: bool = False) -> Array:
    """Rows and columns as a screen shows them, from ``(X, Y)`` or ``(X, Y, 3)`` in prepared geometry.

    The first axis runs to the right of the screen and the second one up: on an axial slice anterior is up and the
    patient's right on the viewer's right; on coronal and sagittal slices superior is up. A photograph (PNG, BMP,
    TIFF) has no patient axes, and its second axis runs down.

    Example:
        >>> to_display(np.array([[1, 2, 3], [4, 5, 6]]))
        array([[3, 6],
               [2, 5],
               [1, 4]])
    """
    rows = np.asarray(array).swapaxes(0, 1)
    return rows if photograph else np.flip(rows, axis=0)
