from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from camtools.data.files import write_json
from camtools.metrics import SegmentationScores
from camtools.report.cells import BACKGROUND_COLOUR, CELL, FOREGROUND_COLOUR, draw_cells
from camtools.report.content import read_run
from camtools.report.curves import draw_curve, series
from camtools.report.panels import load_panel, mask_on_panel, to_display
from camtools.report.sheet import sheet_rows
from camtools.report.summaries import summarise
from camtools.scores.metrics_csv import MetricsRow
from tests.conftest import oblique_affine, write_volume
from tests.report_runs import LAYERS, SHAPE, SLICE, STEPS, Page, corner_mask, make_panel, make_run, save_panel


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run_a")


def stored(array: np.ndarray, codes: str) -> nib.Nifti1Image:
    """The same volume, with its voxels in another order."""
    image = nib.Nifti1Image(array, oblique_affine())
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    return image.as_reoriented(turn)


def centre(cell: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean row and column of the pixels of one colour, as shares of the picture."""
    found = np.argwhere((np.asarray(cell) == colour).all(axis=-1))
    assert len(found)
    return tuple(found.mean(axis=0) / CELL)  # type: ignore[return-value]


# ------------------------------------------------------------------ orientation


def test_display_puts_right_on_the_right_and_front_up() -> None:
    image = np.zeros((3, 2))
    image[2, 1] = 1
    assert np.argwhere(to_display(image)).tolist() == [[0, 2]]
    assert np.argwhere(to_display(image, photograph=True)).tolist() == [[1, 2]]


def test_bright_corner_and_seeds_end_where_the_patient_has_them() -> None:
    mask = corner_mask()[..., SLICE] > 0
    cells = draw_cells(make_panel(), prediction=mask)
    assert list(cells) == STEPS
    grey = np.asarray(cells["Image"].convert("L"))
    top = (CELL - round(CELL * 20 / 24)) // 2
    assert grey[top + 5, CELL - 5] == 255
    assert grey[top + 5, 5] == grey[CELL - top - 5, CELL - 5] == 0
    row, column = centre(cells["Seeds"], FOREGROUND_COLOUR)
    assert column == pytest.approx(18.5 / 24, abs=0.01)
    assert row == pytest.approx((2 + 20 - 15.5) / 24, abs=0.01)
    row, column = centre(cells["Prediction"], BACKGROUND_COLOUR)
    assert row < 0.5 < column


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "IAL", "PSR", "AIL"])
def test_mask_of_any_voxel_order_lines_up_with_the_panel(tmp_path: Path, codes: str) -> None:
    nib.save(stored(corner_mask(), codes), tmp_path / "mask.nii.gz")
    index = SHAPE[2] - 1 - SLICE if "I" in codes else SLICE
    for axis in (None, codes.index("I" if "I" in codes else "S")):
        found = mask_on_panel(tmp_path / "mask.nii.gz", make_panel(slice_index=index, slice_axis=axis))
        assert np.array_equal(found, corner_mask()[..., SLICE] > 0)


def test_mask_follows_a_resampled_panel(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "mask.nii.gz", corner_mask())
    found = mask_on_panel(path, make_panel(image=np.zeros((47, 39))))
    assert found.shape == (47, 39)
    assert np.array_equal(found[::2, ::2], corner_mask()[..., SLICE] > 0)


def test_prediction_of_another_volume_is_named(run: Path) -> None:
    write_volume(run / "predictions" / "case_1.nii.gz", corner_mask()[..., :3])
    row = sheet_rows(read_run(run))[0]
    assert "expected slice 4, which the panel shows, found 3 slices" in row.notes[0]
    assert FOREGROUND_COLOUR in {tuple(pixel) for pixel in np.asarray(row.cells["Prediction"]).reshape(-1, 3).tolist()}


def test_contour_of_the_truth_shows_where_both_agree() -> None:
    mask = corner_mask()[..., SLICE] > 0
    cell = draw_cells(make_panel(), prediction=mask, truth=mask)["Prediction"]
    assert centre(cell, FOREGROUND_COLOUR) == pytest.approx(centre(cell, BACKGROUND_COLOUR), abs=0.02)


def test_photographs_are_upright(run: Path) -> None:
    rows = json.loads((run / "dataset_check.json").read_text())
    rows[1]["image"] = "slide.PNG"
    write_json(rows, run / "dataset_check.json")
    photograph, volume = sheet_rows(read_run(run))
    assert centre(photograph.cells["Seeds"], FOREGROUND_COLOUR)[0] > 0.5
    assert centre(volume.cells["Seeds"], FOREGROUND_COLOUR)[0] < 0.5


def test_masks_of_training_cases_are_not_shown(run: Path) -> None:
    rows = json.loads((run / "dataset_check.json").read_text())
    rows[1]["split"] = "training"
    write_json(rows, run / "dataset_check.json")
    row = sheet_rows(read_run(run))[0]
    assert (row.case, row.split, row.dice) == ("case_1", "training", 0.5)
    with pytest.raises(AssertionError):
        centre(row.cells["Prediction"], FOREGROUND_COLOUR)


def test_pseudo_mask_is_outlined() -> None:
    mask = corner_mask()[..., SLICE] > 0
    cells = draw_cells(make_panel(arrays={"mask": mask.astype(np.float32)}), prediction=mask)
    assert list(cells) == ["Image", "Pseudo-mask", "Prediction"]
    assert np.array_equal(np.asarray(cells["Pseudo-mask"]), np.asarray(cells["Prediction"]))


def test_constant_image_is_drawn() -> None:
    cell = draw_cells(make_panel(image=np.full((24, 20), 7.0)))["Image"]
    assert np.asarray(cell).max() == 0


# ------------------------------------------------------------------ panels, curves, scores


def test_panel_round_trip(tmp_path: Path) -> None:
    panel = make_panel(slice_axis=2)
    save_panel(tmp_path, panel)
    found = load_panel(tmp_path / "panels" / "case_1.npz")
    assert (found.case, found.slice_index, found.slice_axis, found.layers) == ("case_1", SLICE, 2, LAYERS)
    assert np.array_equal(found.arrays["maps"], panel.arrays["maps"])


def test_panel_errors(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", case="a", slice_index=0)
    with pytest.raises(ValueError, match=r"a.npz: expected the array 'slice_axis', found \[\]"):
        load_panel(tmp_path / "a.npz")
    save_panel(tmp_path, make_panel(layers=("one",)))
    with pytest.raises(ValueError, match=r"expected 'maps' of shape \(1, 24, 20\), found \(2, 24, 20\)"):
        load_panel(tmp_path / "panels" / "case_1.npz")


def test_series_leaves_out_what_is_not_a_number() -> None:
    history = [{"epoch": 1, "dice": 0.5, "loss": float("nan")}, {"epoch": 2, "loss": 0.3, "note": "x"}, {"loss": 1.0}]
    assert series(history) == {"loss": [(2, 0.3)], "dice": [(1, 0.5)]}


def test_curve_marks_the_best_epoch() -> None:
    points = [(1.0, 0.0), (2.0, 1.0), (3.0, 0.5)]
    metric, loss = Page(draw_curve("dice", points)), Page(draw_curve("loss", points))
    assert "best 1 at epoch 2" in metric.all("svg")[0]["aria-label"]
    assert "best 0 at epoch 1" in loss.all("svg")[0]["aria-label"]
    x, y = (float(metric.all("circle")[0][name]) for name in ("cx", "cy"))
    corners = [tuple(map(float, pair.split(","))) for pair in metric.all("polyline")[0]["points"].split()]
    assert corners[1] == (x, y)
    assert corners[1][1] < corners[2][1] < corners[0][1], "higher values lie higher"


def test_curve_of_one_epoch_and_of_none() -> None:
    assert len(Page(draw_curve("loss", [(1, 0.0)])).all("circle")) == 1
    with pytest.raises(ValueError, match="Expected at least one epoch of 'loss' to draw, found none"):
        draw_curve("loss", [])


def test_summary_by_hand() -> None:
    def row(split: str, output: str, index: int | None, dice: float, mm: float | None) -> MetricsRow:
        return MetricsRow(split, output, f"{dice}", index, SegmentationScores(dice, 0.5, 4.0, mm))

    rows = [
        row("validation", "prediction", None, 0.9, 1.0),
        row("test", "pseudo_mask", 3, 0.4, None),
        row("test", "prediction", None, 0.6, 1.0),
        row("test", "prediction", None, 0.8, 3.0),
        row("test", "prediction", None, 1.0, 5.0),
    ]
    test, pseudo, validation = summarise(rows)
    assert [part.split for part in (test, pseudo, validation)] == ["test", "test", "validation"]
    assert test.count == 3
    assert test.spreads["dice"] == pytest.approx((0.8, 0.16330), abs=1e-5)
    assert test.spreads["hd95_mm"] == pytest.approx((3.0, 1.63299), abs=1e-5)
    assert pseudo.output == "pseudo_mask"
    assert "hd95_mm" not in pseudo.spreads


def test_colours_are_shown_upright() -> None:
    colours = np.zeros((24, 20, 3))
    colours[:, :, 2] = 1.0  # blue everywhere
    colours[12:, 10:, 0] = 1.0  # and red where both axes are high
    panel = make_panel(image=colours)
    cell = np.asarray(draw_cells(panel, photograph=True)["Image"]).astype(int)
    left, right = (CELL - round(CELL * 24 / 24)) // 2 + 20, CELL - 40
    assert cell[CELL - 40, right, 0] > 240
    assert cell[CELL // 2 - 40, right, 0] < 15
    assert cell[CELL - 40, left + 40, 0] < 15
