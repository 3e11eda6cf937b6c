"""Material for the report: one slice of a volume with everything the method made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camtools.data.case_names import case_name, output_file
from camtools.data.files import atomic_path
from camtools.data.geometry import SliceAxis

__all__ = ["SavePanel"]

KEYS = ("cam", "mask", "spl", "foreground_seeds", "background_seeds")


class SavePanel:
    """A step of a :class:`camtools.engine.VolumePipeline` that keeps the middle one of the slices tagged positive.

    Writes ``folder/<case>.npz``: which slice it is, ``image`` (in colour where it has three channels), and what the
    method made of it: ``maps``, ``cam``, ``mask``, ``spl``, the seeds; what it does not make is left out.

    Args:
        folder: where the panels go.
        cases: names of the cases to keep (a few: each becomes a row of the contact sheet).
        layers: names of the layers of ``maps``; without them the maps are not kept.
        slice_axis: as given to ``SliceAxisLastd``.
    """

    def __init__(
        self, folder: str | Path, cases: Sequence[str], layers: Sequence[str] = (), slice_axis: SliceAxis = None
    ) -> None:
        self.folder = Path(folder)
        self.cases = frozenset(cases)
        self.layers = list(layers)
        self.slice_axis = slice_axis

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Write the panel of one volume; the data pass through unchanged."""
        case = case_name(data)
        if case in self.cases:
            positive = np.flatnonzero(data["slice_labels"])
            index = int(positive[len(positive) // 2]) if len(positive) else data["image"].shape[-1] // 2
            chosen = {key: np.asarray(data[key][..., index].cpu()) for key in ("image", "maps", *KEYS) if key in data}
            arrays: dict[str, Any] = {key: chosen[key][0] for key in KEYS if key in chosen}
            if self.layers:
                arrays |= {"maps": chosen["maps"], "layers": np.array(self.layers)}
            image = chosen["image"]
            picture = np.moveaxis(image, 0, -1) if len(image) == 3 else image.mean(axis=0)
            arrays |= {"image": picture, "case": case, "slice_index": index}
            arrays["slice_axis"] = -1 if self.slice_axis is None else self.slice_axis
            with atomic_path(output_file(self.folder, case, ".npz")) as temporary:
                np.savez_compressed(temporary, **arrays)
        return data
