"""Predictions that find nothing are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camtools.metrics import SegmentationScores
from camtools.scores.collapsed import collapse_warning, collapse_warnings
from camtools.scores.metrics_csv import MetricsRow, write_metrics
from tests.conftest import write_volume


def rows_of(*dice: float, output: str = "prediction", split: str = "test") -> list[MetricsRow]:
    index = None if output == "prediction" else 0
    rows = []
    for number, value in enumerate(dice):
        rows.append(MetricsRow(split, output, f"c{number}", index, SegmentationScores(value, value / 2, 5.0)))
    return rows


def make_run(folder: Path, rows: list[MetricsRow]) -> Path:
    folder.mkdir()
    write_metrics(folder / "metrics.csv", rows)
    return folder


def test_empty_and_nearly_empty_predictions_are_named(tmp_path: Path) -> None:
    empty = make_run(tmp_path / "empty", rows_of(0.0, 0.0, 0.0))
    alive = make_run(tmp_path / "alive", rows_of(0.0, 0.0, 0.4))
    nearly = make_run(tmp_path / "nearly", rows_of(0.0, 0.006, 0.003))
    found = collapse_warnings([empty, alive, nearly], "test")
    assert found == [
        "Warning: the predictions of empty find nothing: their mean Dice is 0.0 % over the 3 test volumes that show "
        "the object. This is a failed training, not a score of the method. Look at the training curves in report.html, "
        "and train the segmenter longer or from other labels.",
        found[1],
    ]
    assert found[1].startswith("Warning: the predictions of nearly find nothing: their mean Dice is 0.3 % over the 3")


def test_only_predictions_of_the_split_count(tmp_path: Path) -> None:
    rows = rows_of(0.0, split="validation") + rows_of(0.0, output="pseudo_mask") + rows_of(0.8)
    run = make_run(tmp_path / "run", rows)
    assert collapse_warnings([run], "test") == []
    assert len(collapse_warnings([run], "validation")) == 1


@pytest.mark.parametrize(("voxels", "named"), [(0, True), (1, False)])
def test_volumes_without_the_object_do_not_hide_a_collapse(tmp_path: Path, voxels: int, named: bool) -> None:
    """A Dice of 1 is either that of an empty mask that was predicted empty, or a perfect prediction."""
    mask = np.zeros((4, 4, 2), np.uint8)
    mask[0, 0, :voxels] = 1
    write_volume(tmp_path / "c0.nii.gz", mask)
    assert bool(collapse_warning(rows_of(1.0, 0.0), tmp_path, "umcam")) == named


def test_runs_without_predictions_and_perfect_ones_are_not_named(tmp_path: Path) -> None:
    assert collapse_warning([], tmp_path, "umcam") == ""
    assert collapse_warning(rows_of(1.0, 1.0), tmp_path, "umcam") == ""
    assert collapse_warning(rows_of(1.0, 0.0), tmp_path, "umcam") == "", "no file tells what was predicted"
