"""Scores of a run, hand-computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import Splits
from camtools.scores import Evaluation
from camtools.scores.metrics_csv import read_metrics
from tests.conftest import oblique_affine, write_volume

SHAPE = (12, 10, 4)


def make_case(folder: Path, name: str, levels: tuple[float, float], axis: int = 2) -> dict[str, Any]:
    """A case whose mask is a 4 x 6 block in slice 1; its map has ``levels`` inside the block and in a wrong half."""
    mask, cam, prediction = (np.zeros(SHAPE, np.float32) for _ in range(3))
    mask[2:6, 2:8, 1] = 1
    cam[2:6, 2:8, 1] = levels[0]
    cam[6:10, 2:8, 1] = levels[1]
    prediction[2:6, 2:5, 1] = 1
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    for path, array in (
        (folder / f"{name}.nii.gz", mask),
        (folder / f"maps/{name}_cam.nii.gz", cam),
        (folder / f"predictions/{name}.nii.gz", prediction),
    ):
        write_volume(path, np.moveaxis(array, 2, axis).copy(), oblique_affine(tuple(spacing)))
    return {"image": str(folder / f"{name}.nii.gz"), "label": str(folder / f"{name}.nii.gz"), "case": name}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_threshold_comes_from_validation_alone(tmp_path: Path, axis: int) -> None:
    splits = {
        "validation": [make_case(tmp_path, "v", (0.6, 0.32), axis)],  # best threshold: 0.35 parts the halves
        "test": [make_case(tmp_path, "t", (0.3, 0.2), axis)],  # 0.25 would part these; at 0.35 nothing is left
    }
    Evaluation(Splits(**splits), tmp_path / "predictions", tmp_path, tmp_path / "maps").run()
    rows = {(row.case, row.output): row for row in read_metrics(tmp_path / "metrics.csv")}
    assert rows["v", "pseudo_mask"].scores.dice == 1
    assert rows["t", "pseudo_mask"].scores.dice == 0
    assert rows["v", "pseudo_mask"].slice_index == rows["t", "pseudo_mask"].slice_index == 1
    for case in "vt":
        scores = rows[case, "prediction"].scores
        assert scores.dice == pytest.approx(2 * 12 / (12 + 24), abs=1e-5)
        assert scores.iou == pytest.approx(0.5, abs=1e-5)
        assert scores.hd95_px == pytest.approx(3, abs=1e-5)
        assert scores.hd95_mm == pytest.approx(3, abs=1e-4)


def test_written_masks_are_scored_as_they_are(tmp_path: Path) -> None:
    splits = {"validation": [], "test": [make_case(tmp_path, "t", (0.3, 0.2))]}
    written = np.zeros(SHAPE, np.uint8)
    written[2:6, 2:8, 1] = 1
    written[6:8, 2:8, 1] = 1  # half as large again as the truth
    write_volume(tmp_path / "maps/t_mask.nii.gz", written)
    Evaluation(Splits(**splits), tmp_path / "predictions", tmp_path, tmp_path / "maps", pseudo_masks="written").run()
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if row.output == "pseudo_mask"]
    assert [(row.split, row.case, row.slice_index) for row in rows] == [("test", "t", 1)]
    assert rows[0].scores.dice == pytest.approx(2 * 24 / (24 + 36), abs=1e-5)


def test_kind_of_pseudo_masks_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pseudo_masks: expected 'searched' or 'written', found 'otsu'"):
        Evaluation(Splits(), tmp_path, tmp_path, pseudo_masks="otsu")  # type: ignore[arg-type]


def test_items_without_a_mask_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = {"image": "nowhere.nii.gz", "case": "bare"}
    splits = {"validation": [bare], "test": [bare, make_case(tmp_path, "t", (0.3, 0.2))]}
    with caplog.at_level("WARNING", logger="camtools"):
        Evaluation(Splits(**splits), tmp_path / "predictions", tmp_path, tmp_path / "maps").run()
    assert [(row.case, row.output) for row in read_metrics(tmp_path / "metrics.csv")] == [("t", "prediction")]
