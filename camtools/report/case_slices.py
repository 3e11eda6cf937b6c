"""The slices of one case that the page can scroll through, with everything the run has on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from camtools.data.case_names import output_file
from camtools.data.channels import shown_channels
from camtools.data.geometry import voxel_spacing
from camtools.report.cells import windowed
from camtools.report.content import RunContent
from camtools.report.panels import read_prepared, to_display

__all__ = ["LAYERS", "CaseSlices", "choose_slices", "read_case"]

Array = NDArray[Any]

LAYERS = {"map": "Map", "pseudo_label": "Pseudo-label", "prediction": "Prediction", "truth": "Truth"}
EVENLY, WITH_OBJECT = 24, 24
SIDE = 512


@dataclass(frozen=True)
class CaseSlices:
    """Chosen slices of one case, as a screen shows them (:func:`camtools.report.panels.to_display`).

    Attributes:
        case: name of the case.
        split: its split.
        total: number of slices in the file.
        indices: the chosen ones, ascending.
        start: position in ``indices`` of the slice to show first, the one with the largest object.
        size: columns and rows of the picture on the page, in which pixels are square.
        images: ``(N, rows, columns)`` or ``(N, rows, columns, 3)``, in [0, 1], one window for all slices.
        layers: key of :data:`LAYERS` -> ``(N, rows, columns)`` in [0, 1]; what the run does not have is left out.
        notes: what could not be shown, and why.
    """

    case: str
    split: str
    total: int
    indices: tuple[int, ...]
    start: int
    size: tuple[int, int]
    images: Array
    layers: Mapping[str, Array]
    notes: tuple[str, ...]


def read_case(run: RunContent, case: str) -> CaseSlices:
    """Read image, map, pseudo-label, prediction and, but for training cases, truth of one case of a run.

    Raises:
        DataError: the image is missing or cannot be read. Any other file that cannot be shown is named in the notes.
    """
    row = run.dataset_row(case)
    photograph = run.is_photograph(case)
    axis = _slice_axis(run, row)
    image = read_prepared(Path(row["image"]), axis)
    notes = [note for note in [run.channels_note(case)] if note]
    volumes = _read_layers(_layer_files(run, case), image, axis, notes)
    weights = [_object_per_slice(volumes, keys, image) for keys in (("prediction", "truth"), ("pseudo_label", "map"))]
    chosen = choose_slices(image.shape[-1], weights[0])
    largest = next((weight for weight in weights if weight[chosen].any()), None)

    def shown(volume: Array) -> Array:
        return np.stack([to_display(volume[..., index], photograph) for index in chosen])

    channels = [shown(channel) for channel in _windowed(shown_channels(image.numpy()), photograph)]
    return CaseSlices(
        case=case,
        split=str(row.get("split", "")),
        total=image.shape[-1],
        indices=tuple(chosen),
        start=len(chosen) // 2 if largest is None else int(largest[chosen].argmax()),
        size=_size(image),
        images=np.stack(channels, axis=-1) if len(channels) == 3 else channels[0],
        layers={key: shown(np.clip(volume, 0, 1)) for key, volume in volumes.items()},
        notes=tuple(notes),
    )


def _slice_axis(run: RunContent, row: Mapping[str, Any]) -> int | None:
    """The array axis that the check found for the case, else the run's setting; None where there is no number."""
    axis = row.get("slice_axis", ((run.manifest.content or {}).get("config") or {}).get("slice_axis"))
    return axis if isinstance(axis, int) else None


def choose_slices(total: int, weights: Array) -> list[int]:
    """At most 24 slices spread evenly over the volume, and at most 24 spread over those that hold an object.

    Args:
        total: number of slices.
        weights: ``(total,)`` pixels of object in each.

    Example:
        >>> choose_slices(4, np.zeros(4))
        [0, 1, 2, 3]
        >>> len(choose_slices(100, np.zeros(100)))
        24
    """
    return sorted({*_spread(np.arange(total), EVENLY), *_spread(np.flatnonzero(weights), WITH_OBJECT)})


def _spread(indices: Array, most: int) -> list[int]:
    if not len(indices):
        return []
    places = np.linspace(0, len(indices) - 1, min(len(indices), most)).round().astype(int)
    return [int(index) for index in indices[places]]


def _layer_files(run: RunContent, case: str) -> dict[str, Path | None]:
    labels = [output_file(run.pseudo_labels, case, f"_{name}.nii.gz") for name in ("spl", "mask")]
    if run.pseudo_masks is not None:
        labels = [output_file(run.pseudo_masks, case, "_mask.nii.gz")]
    return {
        "map": output_file(run.pseudo_labels, case, "_cam.nii.gz"),
        "pseudo_label": next((path for path in labels if path.is_file()), None),
        "prediction": output_file(run.folder / "predictions", case, ".nii.gz"),
        "truth": run.truth_file(case),
    }


def _read_layers(
    files: Mapping[str, Path | None], image: MetaTensor, axis: int | None, notes: list[str]
) -> dict[str, Array]:
    volumes = {}
    for key, path in files.items():
        if path is None or not path.is_file():
            continue
        try:
            volume = read_prepared(path, axis)
        except (OSError, ValueError) as error:
            notes.append(f"{LAYERS[key]}: {error}")
            continue
        if volume.shape[1:] == image.shape[1:]:
            volumes[key] = volume.numpy()[0]
        else:
            expected, found = tuple(image.shape[1:]), tuple(volume.shape[1:])
            notes.append(f"{LAYERS[key]}: expected the shape of the image, {expected}, found {found} in {path.name}.")
    return volumes


def _object_per_slice(volumes: Mapping[str, Array], keys: tuple[str, ...], image: MetaTensor) -> Array:
    """Pixels of object in each slice, of all of these layers together."""
    counts = np.zeros(image.shape[-1], int)
    for key in keys:
        if key in volumes:
            counts += (volumes[key] > 0.5).sum(axis=(0, 1))
    return counts


def _size(image: MetaTensor) -> tuple[int, int]:
    """Columns and rows: the longer side in mm gets :data:`SIDE` pixels."""
    lengths = np.array(image.shape[1:3]) * voxel_spacing(image.affine)[:2]
    columns, rows = np.maximum((SIDE * lengths / lengths.max()).round(), 1).astype(int)
    return int(columns), int(rows)


def _windowed(image: Array, photograph: bool) -> Array:
    """Intensities in [0, 1]: photographs of 8 bits as they are, each channel of a volume in a window of its own."""
    if photograph:
        return windowed(image, (0, 255) if image.max() <= 255 else None)
    return np.stack([windowed(channel) for channel in image])
