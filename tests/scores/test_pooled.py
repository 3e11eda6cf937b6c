"""Pooled scores of a run: hand-computed, numbered and plain masks, 2D images and volumes, the file, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from camtools.data import DataError, Splits
from camtools.data.files import save_like
from camtools.scores import Evaluation
from camtools.scores.pooled import PooledRow, PooledScores, read_pooled
from tests.conftest import oblique_affine, write_volume

SUFFIXES = {"cam": "_unrefined.nii.gz", "pseudo_mask": "_mask.nii.gz"}
WIDTH, HEIGHT = 12, 8


def write_image_case(folder: Path, name: str, numbers: np.ndarray[Any, Any], **outputs: np.ndarray[Any, Any]) -> Any:
    """A PNG mask ``(rows, columns)`` and outputs as NIfTI, which run along columns first."""
    folder.mkdir(exist_ok=True)
    label = folder / f"{name}_label.png"
    Image.fromarray(numbers.astype(np.uint8)).save(label)
    for key, array in outputs.items():
        path = folder / ("pred" if key == "prediction" else "maps") / f"{name}{SUFFIXES.get(key, '.nii.gz')}"
        save_like(array.T[..., None].astype(np.float32), np.eye(4), label, path)
    return {"image": str(label), "label": str(label), "case": name}


def boxes(*found: tuple[int, int, int, int, float]) -> np.ndarray[Any, Any]:
    """Boxes (top, bottom, left, right, value) in an image of 8 x 12."""
    image = np.zeros((HEIGHT, WIDTH))
    for top, bottom, left, right, value in found:
        image[top:bottom, left:right] = value
    return image


@pytest.fixture
def glands(tmp_path: Path) -> list[dict[str, Any]]:
    """Two images with three numbered glands; the predictions find one whole, merge two."""
    one = boxes((0, 2, 0, 4, 1), (4, 8, 0, 2, 2))  # two glands of 8 pixels
    two = boxes((0, 4, 0, 6, 5))  # one of 24
    return [
        write_image_case(
            tmp_path,
            "one",
            one,
            cam=boxes((0, 2, 0, 4, 0.6), (4, 8, 0, 2, 0.5)),  # 0.5 is background
            pseudo_mask=one > 0,
            prediction=boxes((0, 2, 0, 4, 1), (4, 5, 0, 2, 1), (7, 8, 11, 12, 1)),
        ),
        write_image_case(tmp_path, "two", two, cam=two * 0, pseudo_mask=two > 0, prediction=boxes((0, 4, 0, 7, 1))),
    ]


def scores(tmp_path: Path, splits: dict[str, Any], **kwargs: Any) -> dict[tuple[str, str], PooledRow]:
    options = {"pseudo_label_dir": tmp_path / "maps", "suffixes": SUFFIXES} | kwargs
    PooledScores(splits, tmp_path / "pred", tmp_path, **options).run()
    return {(row.split, row.output): row for row in read_pooled(tmp_path / "pooled_metrics.csv")}


def test_numbered_glands_hand_computed(glands: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = scores(tmp_path, {"test": glands})
    assert list(rows) == [("test", "cam"), ("test", "pseudo_mask"), ("test", "prediction")]
    assert rows["test", "pseudo_mask"] == PooledRow("test", "pseudo_mask", 2, *[1.0] * 7)
    # Of 192 pixels 40 are gland; the map finds 8 of them, and one gland of three.
    cam = rows["test", "cam"]
    assert cam.images == 2
    assert cam.miou == pytest.approx((8 / 40 + 152 / 184) / 2, rel=1e-5)
    assert cam.dice == pytest.approx((16 / 48 + 304 / 336) / 2, rel=1e-5)
    assert (cam.f1, cam.precision, cam.recall) == pytest.approx((16 / 48, 1, 8 / 40), rel=1e-5)
    assert (cam.object_dice, cam.object_f1) == pytest.approx(((1 + 8 / 40) / 2, 2 / 4), rel=1e-5)
    # The prediction: 8 + 2 of 16 and 1 wrong pixel, then 24 of 24 and 4 wrong ones.
    prediction = rows["test", "prediction"]
    assert prediction.miou == pytest.approx((34 / 45 + 147 / 158) / 2, rel=1e-5)
    assert (prediction.precision, prediction.recall) == pytest.approx((34 / 39, 34 / 40), rel=1e-5)
    # Objects: one whole, one quarter (too little), one single pixel, one with 28 pixels on 24.
    assert prediction.object_f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1), rel=1e-5)
    matched = (8 * 1 + 2 * 4 / 10 + 28 * 48 / 52) / 39, (8 * 1 + 8 * 4 / 10 + 24 * 48 / 52) / 40
    assert prediction.object_dice == pytest.approx(sum(matched) / 2, rel=1e-5)


def test_objects_touch_at_corners(tmp_path: Path) -> None:
    truth = boxes((0, 2, 0, 2, 1), (2, 4, 2, 4, 2))
    item = write_image_case(tmp_path, "one", truth, prediction=truth > 0)
    row = scores(tmp_path, {"test": [item]}, pseudo_label_dir=None)["test", "prediction"]
    assert row.miou == 1
    assert row.object_f1 == pytest.approx(2 / 3, rel=1e-5)  # one object for two glands


@pytest.mark.parametrize(("value", "numbered"), [(1, False), (255, False), (2, True)])
def test_masks_of_one_value_have_no_object_scores(tmp_path: Path, value: int, numbered: bool) -> None:
    truth = boxes((0, 2, 0, 4, value))
    empty = write_image_case(tmp_path, "empty", truth * 0, prediction=truth * 0)
    item = write_image_case(tmp_path, "one", truth, prediction=truth > 0)
    row = scores(tmp_path, {"test": [empty, item]}, pseudo_label_dir=None)["test", "prediction"]
    assert (row.miou, row.object_dice, row.object_f1) == ((1, 1, 1) if numbered else (1, None, None))
    last = (tmp_path / "pooled_metrics.csv").read_text().splitlines()[1]
    assert last == "test,prediction,2,1,1,1,1,1," + ("1,1" if numbered else ",")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_volume_are_apart(tmp_path: Path, axis: int) -> None:
    numbers = np.zeros((6, 5, 3), np.uint8)
    numbers[0:2, 0:2, 0], numbers[0:2, 0:2, 1] = 1, 2  # two objects, one above the other
    prediction = np.zeros_like(numbers)
    prediction[0:2, 0:2, :2] = 1
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    for path, array in (("label.nii.gz", numbers), ("pred/c.nii.gz", prediction)):
        write_volume(tmp_path / path, np.moveaxis(array, 2, axis).copy(), oblique_affine(tuple(spacing)))
    item = {"image": "c.nii.gz", "label": str(tmp_path / "label.nii.gz"), "case": "c"}
    row = scores(tmp_path, {"test": [item]}, pseudo_label_dir=None)["test", "prediction"]
    assert (row.object_f1, row.object_dice) == (1, 1)


def test_splits_are_pooled_apart_and_bare_items_passed_over(glands: list[dict[str, Any]], tmp_path: Path) -> None:
    bare = {"image": "nowhere.png", "case": "bare"}
    splits = {"validation": [glands[0], bare], "test": [glands[1]], "training": [bare]}
    rows = scores(tmp_path, splits, suffixes={"pseudo_mask": "_mask.nii.gz"})
    assert [(*key, row.images) for key, row in rows.items()] == [
        ("validation", "pseudo_mask", 1),
        ("validation", "prediction", 1),
        ("test", "pseudo_mask", 1),
        ("test", "prediction", 1),
    ]
    assert rows["test", "prediction"].recall == 1
    assert rows["validation", "prediction"].recall == pytest.approx(10 / 16)


def test_evaluation_writes_the_file_when_asked(glands: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "pooled_metrics.csv"
    Evaluation(Splits(test=glands), tmp_path / "pred", tmp_path).run()
    assert not path.exists()
    arguments = (Splits(test=glands), tmp_path / "pred", tmp_path, tmp_path / "maps")
    Evaluation(*arguments, pseudo_masks="written", pooled=SUFFIXES).run()
    expected = path.read_bytes()
    assert expected.count(b"\n") == 4
    scores(tmp_path, {"test": glands})
    assert path.read_bytes() == expected
    # Full supervision has no pseudo-labels.
    Evaluation(Splits(test=glands), tmp_path / "pred", tmp_path, pooled=SUFFIXES).run()
    assert [row.output for row in read_pooled(path)] == ["prediction"]


def test_a_failure_keeps_the_earlier_file(glands: list[dict[str, Any]], tmp_path: Path) -> None:
    scores(tmp_path, {"test": glands})
    before = (tmp_path / "pooled_metrics.csv").read_bytes()
    other = nib.Nifti1Image(np.zeros((WIDTH, 3, 1), np.float32), np.eye(4))
    nib.save(other, tmp_path / "pred/two.nii.gz")
    with pytest.raises(
        DataError,
        match=r"Expected .*two.nii.gz on the voxels of .*two_label.png, found .*\(12, 3, 1\) and \(12, 8, 1\)",
    ):
        scores(tmp_path, {"test": glands})
    (tmp_path / "pred/two.nii.gz").unlink()
    with pytest.raises(DataError, match=r"Expected an image at .*two.nii.gz, found no such file"):
        scores(tmp_path, {"test": glands})
    assert (tmp_path / "pooled_metrics.csv").read_bytes() == before


def test_unknown_output(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pooled: expected outputs of cam, pseudo_mask, found 'prediction'"):
        Evaluation(Splits(), tmp_path, tmp_path, pooled={"prediction": ".nii.gz"})


def test_files_that_cannot_be_read(glands: list[dict[str, Any]], tmp_path: Path) -> None:
    scores(tmp_path, {"test": glands})
    path = tmp_path / "pooled_metrics.csv"
    whole = path.read_text()
    path.write_text(whole.replace("miou", "iou"))
    with pytest.raises(
        ValueError, match=r"expected the columns split,output,.*, found split,output,images,iou,.*again"
    ):
        read_pooled(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"found an empty file; run the evaluate stage again"):
        read_pooled(path)
    path.write_text(whole + "test,cam,2,0.5\n")
    with pytest.raises(
        ValueError, match=r"line 5: cannot read 'test,cam,2,0.5': expected 10 values, found 4\. Run the evaluate"
    ):
        read_pooled(path)
    path.write_text(whole + "test,cam,2,0.5,x,0.5,0.5,0.5,,\n")
    with pytest.raises(ValueError, match=r"line 5: cannot read .*: could not convert string to float: 'x' Run"):
        read_pooled(path)
