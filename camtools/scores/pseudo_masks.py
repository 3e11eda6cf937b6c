"""Pseudo-masks of the baselines of the UM-CAM paper: activation maps at the threshold that a grid search finds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from camtools.data.case_names import case_name
from camtools.data.files import write_json
from camtools.data.geometry import slice_axis_of
from camtools.data.slice_dataset import pseudo_label_files
from camtools.data.splits import Splits
from camtools.data.volumes import read_volume
from camtools.engine.manifest import digest
from camtools.engine.pipelines import VolumePipeline
from camtools.engine.ranks import Ranks
from camtools.scores.masked import items_with_mask, search_threshold
from camtools.thresholds import Rule, map_threshold, per_pixel

__all__ = ["THRESHOLD_FILE", "PseudoMasks"]

logger = logging.getLogger("camtools")

THRESHOLD_FILE = "threshold.json"


class PseudoMasks(VolumePipeline):
    """Threshold the fused maps of all tagged volumes: a voxel is 1 where its map exceeds the threshold.

    The paper searches the threshold on a grid. Here it is the one with the best mean Dice over the validation slices
    that show the object (``camtools.scores.masked.search_threshold``). One threshold holds for all volumes. If no
    validation mask shows the object, ``rule`` gives each slice its own threshold, and a warning says so.

    The folder gets ``threshold.json`` (the threshold, or the rule, and the mean Dice of each candidate) and
    ``<case>_mask.nii.gz``, uint8, on the voxels of the file. Slices tagged 0 are empty. A mask is skipped if its map,
    its tags and the threshold are the same as before.

    Source: UM-CAM (Fu et al., 2023), section 3.2 and table 1.

    Args:
        splits: the volumes.
        maps: folder of the fused maps ``<case>_cam.nii.gz``, in [0, 1].
        folder: folder of the masks.
        rule: threshold of a slice where no mask can choose one, see :func:`camtools.thresholds.map_threshold`. Half of
            the maximum is the best of the simple rules over the three kinds of map on the built-in phantoms.

    Raises:
        DataError: on a run, a map or a mask cannot be read.
        ValueError: on a run, a map outside [0, 1], or of another shape than the mask.
    """

    def __init__(self, splits: Splits, maps: str | Path, folder: str | Path, rule: Rule = 0.5) -> None:
        data = []
        for item in splits.tagged():
            cam = pseudo_label_files(maps, item, ["cam"])["cam"]
            data.append({"image": cam, "case": case_name(item), "slice_labels": item["slice_labels"]})
        super().__init__("threshold", data, [self._mask], {"mask": "_mask.nii.gz"}, folder, dtype="uint8")
        self.maps = maps
        self.validation = items_with_mask(splits.validation)
        self.slice_axis = splits.slice_axis
        self.rule: Rule = rule
        self.threshold: float | None = None

    def run(self) -> None:
        """Search the threshold, then write the masks; see ``VolumePipeline.run``."""
        self.threshold = Ranks().first(self._choose)
        super().run()

    def input_hash(self, item: dict[str, Any]) -> str:
        """Hash of the map, the tags and the threshold."""
        chosen = self.rule if self.threshold is None else self.threshold
        return digest([super().input_hash(item), chosen])[:32]

    def _choose(self) -> float | None:
        found = search_threshold(self.maps, self.validation, self.slice_axis)
        record: dict[str, Any] = {"threshold": None, "rule": self.rule, "validation_volumes": len(self.validation)}
        if found is None:
            logger.warning(
                "threshold: expected validation masks that show the object, found none, so no search is possible. "
                "Each slice gets its own threshold by the rule %r instead. The paper searches one threshold on "
                "validation masks: give the mask of a few validation volumes to compare with it.",
                self.rule,
            )
        else:
            threshold, search = found
            dice = {f"{candidate:.2f}": round(value, 6) for candidate, value in search.mean_dice().items()}
            record |= {"threshold": threshold, "rule": "best mean Dice of the validation slices", "mean_dice": dice}
            logger.info("threshold: %.2f has the best mean Dice of the validation slices", threshold)
        write_json(record, self.folder / THRESHOLD_FILE)
        return record["threshold"]  # type: ignore[no-any-return]

    def _mask(self, data: dict[str, Any]) -> dict[str, Any]:
        cam = read_volume(data["image"])
        axis = 1 + slice_axis_of(cam, self.slice_axis)
        slices = cam.as_tensor().movedim(axis, 0)
        if len(data["slice_labels"]) != len(slices):
            raise ValueError(
                f"Expected one tag per slice, found {len(data['slice_labels'])} tags for {len(slices)} slices of "
                f"{data['image']}. Run the step pseudo_label again."
            )
        threshold = map_threshold(slices, self.rule) if self.threshold is None else torch.tensor(self.threshold)
        mask = slices > per_pixel(threshold)
        mask[torch.as_tensor(data["slice_labels"]) == 0] = False
        return data | {"mask": MetaTensor(mask.movedim(0, axis).float(), meta=cam.meta)}
