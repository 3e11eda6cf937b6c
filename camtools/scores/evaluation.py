"""Scores of a run: pseudo-masks slice by slice, predictions volume by volume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from camtools.data.case_names import case_name, output_file
from camtools.data.file_kinds import is_photograph
from camtools.data.geometry import voxel_spacing
from camtools.data.slice_dataset import pseudo_label_files
from camtools.data.splits import Splits
from camtools.data.volumes import read_mask
from camtools.engine.ranks import on_first_rank
from camtools.metrics import slice_scores, volume_scores
from camtools.scores.masked import items_with_mask, search_threshold, stacked_with_mask
from camtools.scores.metrics_csv import MetricsRow, write_metrics
from camtools.scores.pooled import PooledScores

__all__ = ["Evaluation"]

logger = logging.getLogger("camtools")


class Evaluation:
    """Compare what a run wrote with the masks of its validation and test items.

    Predictions are scored in 3D, one row per volume; pseudo-masks in 2D, one row per positive slice.

    Args:
        splits: the volumes; validation and test items without a mask are skipped.
        prediction_dir: folder of the predicted masks.
        output_dir: folder of ``metrics.csv``.
        pseudo_label_dir: folder of the fused activation maps; None scores the predictions alone.
        pseudo_masks: ``"searched"``: the maps at the threshold with the best mean Dice over the *validation* slices, as
            papers do whose method has no threshold of its own. ``"written"``: the masks ``<case>_mask.nii.gz`` that the
            method wrote there.
        pooled: ending of the files of ``"cam"`` and ``"pseudo_mask"`` in ``pseudo_label_dir``, after the name of the
            case (such as ``{"pseudo_mask": "_mask.nii.gz"}``): writes ``pooled_metrics.csv`` too, see
            ``camtools.scores.pooled.PooledScores``. None does not.

    Raises:
        ValueError: an unknown value of ``pseudo_masks``, or an unknown output in ``pooled``.
    """

    def __init__(
        self,
        splits: Splits,
        prediction_dir: str | Path,
        output_dir: str | Path,
        pseudo_label_dir: str | Path | None = None,
        pseudo_masks: Literal["searched", "written"] = "searched",
        pooled: Mapping[str, str] | None = None,
    ) -> None:
        if pseudo_masks not in ("searched", "written"):
            raise ValueError(f"pseudo_masks: expected 'searched' or 'written', found {pseudo_masks!r}.")
        self.splits = {"validation": items_with_mask(splits.validation), "test": items_with_mask(splits.test)}
        self.prediction_dir = Path(prediction_dir)
        self.output_dir = Path(output_dir)
        self.pseudo_label_dir = pseudo_label_dir
        self.pseudo_masks = pseudo_masks
        self.slice_axis = splits.slice_axis
        self.pooled = None
        if pooled is not None:
            folders = (prediction_dir, output_dir, pseudo_label_dir)
            self.pooled = PooledScores(self.splits, *folders, pooled, self.slice_axis)

    @on_first_rank
    def run(self) -> None:
        """Score everything and write ``metrics.csv``, and ``pooled_metrics.csv`` where it is asked for."""
        rows: list[MetricsRow] = []
        if self.pseudo_label_dir is not None:
            rows += self._pseudo_mask_rows(self.pseudo_label_dir)
        items = [(split, item) for split, listed in self.splits.items() for item in listed]
        for split, item in tqdm(items, desc="evaluate", unit="volume", disable=None):
            truth = read_mask(item["label"])
            prediction = read_mask(output_file(self.prediction_dir, case_name(item), ".nii.gz"))
            scores = volume_scores(_mask(prediction), _mask(truth), _spacing(item, truth))
            rows.append(MetricsRow(split, "prediction", case_name(item), None, scores))
        write_metrics(self.output_dir / "metrics.csv", rows)
        if self.pooled is not None:
            self.pooled.run()
        for split in self.splits:
            dice = [row.scores.dice for row in rows if row.split == split and row.output == "prediction"]
            if dice:
                logger.info(
                    "evaluate: %s Dice %.4f +- %.4f (%d volumes)", split, np.mean(dice), np.std(dice), len(dice)
                )

    def _pseudo_mask_rows(self, folder: str | Path) -> list[MetricsRow]:
        threshold = 0.5 if self.pseudo_masks == "written" else self._searched_threshold(folder)
        if threshold is None:
            return []
        rows = []
        items = [(split, item) for split, listed in self.splits.items() for item in listed]
        for split, item in tqdm(items, desc="pseudo-masks", unit="volume", disable=None):
            cam, mask = stacked_with_mask(self._map_file(folder, item), item, self.slice_axis)
            for index, scores in slice_scores(cam > threshold, mask):
                rows.append(MetricsRow(split, "pseudo_mask", case_name(item), index, scores))
        return rows

    def _searched_threshold(self, folder: str | Path) -> float | None:
        found = search_threshold(folder, self.splits["validation"], self.slice_axis)
        if found is None:
            logger.warning("evaluate: pseudo-masks are not scored, because no validation mask gives their threshold")
            return None
        logger.info("evaluate: threshold of the pseudo-masks, from the validation slices: %.2f", found[0])
        return found[0]

    def _map_file(self, folder: str | Path, item: dict[str, Any]) -> str:
        kind = "mask" if self.pseudo_masks == "written" else "cam"
        return pseudo_label_files(folder, item, [kind])[kind]


def _spacing(item: Mapping[str, Any], truth: Any) -> list[float] | None:
    """Voxel spacing in mm; None for photographs (PNG, BMP, TIFF), whose files do not store it."""
    return None if is_photograph(item["image"]) else voxel_spacing(truth.affine).tolist()


def _mask(volume: Any) -> torch.Tensor:
    return torch.as_tensor(volume.as_tensor()[0] > 0.5)
