"""Data for the report: one slice of a volume with all results of the method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camtools.data.case_names import case_name, output_file
from camtools.data.channels import shown_channels
from camtools.data.files import atomic_path
from camtools.data.splits import Splits

__all__ = ["SavePanel"]

KEYS = ("cam", "mask", "spl", "foreground_seeds", "background_seeds")


class SavePanel:
    """A step of a :class:`camtools.engine.VolumePipeline` that saves the middle one of the positive slices.

    Writes ``folder/<case>.npz`` with the index of the slice, ``image`` (three channels as colours, else the
    first channel), and the results of the method: ``maps``, ``cam``, ``mask``, ``spl`` and the seeds, as far as the
    method computes them.

    Args:
        folder: folder of the panels.
        splits: the volumes. Only those in ``splits.shown`` are saved; each becomes a row of the contact sheet.
        layers: names of the layers of ``maps``; without names, the maps are not saved.
    """

    def __init__(self, folder: str | Path, splits: Splits, layers: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        self.splits = splits
        self.layers = list(layers)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Write the panel of one volume. The data are returned unchanged."""
        case = case_name(data)
        if case in self.splits.shown:
            positive = np.flatnonzero(data["slice_labels"])
            index = int(positive[len(positive) // 2]) if len(positive) else data["image"].shape[-1] // 2
            chosen = {key: np.asarray(data[key][..., index].cpu()) for key in ("image", "maps", *KEYS) if key in data}
            arrays: dict[str, Any] = {key: chosen[key][0] for key in KEYS if key in chosen}
            if self.layers:
                arrays |= {"maps": chosen["maps"], "layers": np.array(self.layers)}
            image = shown_channels(chosen["image"])
            picture = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
            arrays |= {"image": picture, "case": case, "slice_index": index}
            slice_axis = self.splits.slice_axis
            arrays["slice_axis"] = -1 if slice_axis is None else slice_axis
            with atomic_path(output_file(self.folder, case, ".npz")) as temporary:
                np.savez_compressed(temporary, **arrays)
        return data
