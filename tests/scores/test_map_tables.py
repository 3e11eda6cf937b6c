"""What is made of the scores: tables, files, the overlay sheet; the trained classifier and the command."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from camtools.cams import CfdCAM
from camtools.cli import app
from camtools.crf import DenseCRF, inference
from camtools.data import load_datalist
from camtools.metrics import PixelCounts, SegmentationScores
from camtools.report.cells import CELL, FOREGROUND_COLOUR
from camtools.report.map_pictures import MASK_COLOUR, write_cam_sheet
from camtools.report.sheet import GAP, HEADER, LABEL_WIDTH
from camtools.scores.classifier import load_trained_classifier
from camtools.scores.map_scores import CamQuality, CamScores, CamView
from camtools.scores.map_tables import format_cam_scores, write_cam_scores
from tests.cam_classifiers import CFD_TRAIN, ONE_LOGIT_WIDTH, TRAIN, WIDTH, overrides, save_weights, tiny_network

# ------------------------------------------------------------------ tables and sheet


def hand_made() -> CamQuality:
    def scores(*values: tuple[float, float, float]) -> list[tuple[str, int, SegmentationScores]]:
        return [("a", index, SegmentationScores(*value)) for index, value in enumerate(values)]

    one = CamScores("weak", "otsu", None, PixelCounts(1, 3, 1), scores((0.2, 0.1, 9.0), (0.4, 0.3, 7.0)))
    two = CamScores("strong", "search", 0.35, PixelCounts(2, 1, 0), scores((0.8, 0.5, 2.0), (0.6, 0.2, 4.0)))
    return CamQuality("test", [one, two], [])


def test_table_by_hand() -> None:
    lines = format_cam_scores(hand_made()).splitlines()
    titles = "mIoU (%) | Precision (%) | Recall (%) | Micro-F1 (%) | DSC (%) | IoU (%) | HD95 (pixels)"
    assert lines[0] == f"| Method | Threshold | {titles} |"
    weak = "20.00 | 25.00 | 50.00 | 33.33 | 30.00 ± 10.00 | 20.00 ± 10.00 | 8.00 ± 1.00 |"
    assert lines[2] == f"| weak | otsu | {weak}"
    best = "**66.67** | **66.67** | **100.00** | **80.00** | **70.00 ± 10.00** | **35.00 ± 15.00** | **3.00 ± 1.00** |"
    assert lines[3] == f"| strong | search (0.35) | {best}"
    assert lines[5].startswith("Split test, 2 slices that show the object")


def test_files_by_hand(tmp_path: Path) -> None:
    write_cam_scores(hand_made(), tmp_path)
    means = "dice_percent_mean,dice_percent_std,iou_percent_mean,iou_percent_std,hd95_px_mean,hd95_px_std"
    pooled = "miou_percent,precision_percent,recall_percent,f1_percent"
    assert (tmp_path / "cam_scores.csv").read_text().splitlines() == [
        f"split,method,rule,threshold,slices,{pooled},{means}",
        "test,weak,otsu,,2,20,25,50,33.3333,30,10,20,10,8,1",
        "test,strong,search,0.35,2,66.6667,66.6667,100,80,70,10,35,15,3,1",
    ]
    lines = (tmp_path / "cam_slices.csv").read_text().splitlines()
    assert lines[:2] == ["split,method,rule,case,slice,dice,iou,hd95_px", "test,weak,otsu,a,0,0.2,0.1,9"]
    assert len(lines) == 5


def centre(sheet: np.ndarray, column: int, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean row and column of the pixels of one colour, as shares of one cell of the first row."""
    left = LABEL_WIDTH + column * (CELL + GAP)
    found = np.argwhere((sheet[HEADER : HEADER + CELL, left : left + CELL] == colour).all(axis=-1))
    row, across = found.mean(axis=0) / CELL
    return float(row), float(across)


@pytest.mark.parametrize(("path", "row"), [("scan.nii.gz", 1 - 26 / 32), ("slide.PNG", 26 / 32)])
def test_sheet_puts_right_on_the_right_and_front_up(tmp_path: Path, path: str, row: float) -> None:
    image, truth, mask = torch.zeros(32, 32), torch.zeros(32, 32, dtype=torch.bool), torch.zeros(32, 32)
    truth[14:20, 22:30] = True  # first axis 17, second axis 26
    mask[2:8, 22:30] = 1
    view = CamView("a", path, 3, image, truth, {"one": (mask, mask > 0.5, 0.5)})
    write_cam_sheet([view], "test", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert centre(sheet, 0, FOREGROUND_COLOUR) == pytest.approx((row, 17 / 32), abs=0.01)
    assert centre(sheet, 1, MASK_COLOUR) == pytest.approx((row, 5 / 32), abs=0.01)


# ------------------------------------------------------------------ configuration and command


def test_classifier_comes_with_its_weights_and_without_training_items(blob_dataset: Path, tmp_path: Path) -> None:
    for item in load_datalist(blob_dataset, "training"):
        Path(item["label"]).write_bytes(b"not a mask")
    ids = {"dataset_dir": str(blob_dataset), "classifier_dir": save_weights(tmp_path / "c"), "width": WIDTH}
    classifier = load_trained_classifier([TRAIN], ids | {"device": "cpu", "min_area_fraction": 0.01})
    assert sorted(classifier.splits) == ["test", "validation"]
    assert classifier.min_area_fraction == 0.01
    assert not classifier.network.training
    for name, value in tiny_network().state_dict().items():
        assert torch.equal(classifier.network.state_dict()[name], value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifier_dir": "nowhere"}, r"Expected the trained classifier at nowhere/model.pt.*--run .*'@classify'"),
        (
            {"width": 0.125},
            r"weights of the configured VGG16CAM, found weights of another network in .*c/model.pt: size",
        ),
        ({"widht": 0.125}, r"found --widht, but no 'widht' in .*train.yaml"),
    ],
)
def test_wrong_ids_are_named(blob_dataset: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    ids = {"dataset_dir": str(blob_dataset), "classifier_dir": save_weights(tmp_path / "c"), "width": WIDTH}
    with pytest.raises((ValueError, OSError), match=message):
        load_trained_classifier([TRAIN], ids | {"device": "cpu"} | changes)


def test_other_files_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a configuration at .*none.yaml, found no such file"):
        load_trained_classifier([tmp_path / "none.yaml"])
    (tmp_path / "other.yaml").write_text("device: cpu\n")
    with pytest.raises(ValueError, match=r"Expected the train.yaml .*, found no 'classifier#network' in .*other.yaml"):
        load_trained_classifier([tmp_path / "other.yaml"])


def test_pretrained_weights_are_not_fetched_again(blob_dataset: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("classifier#network#pretrained: absent.pt\n")
    ids = {"dataset_dir": str(blob_dataset), "classifier_dir": save_weights(tmp_path / "c"), "width": WIDTH}
    network = load_trained_classifier([TRAIN, overlay], ids | {"device": "cpu"}).network
    assert torch.equal(network.state_dict()["classifier.bias"], tiny_network().state_dict()["classifier.bias"])


def test_crf_is_that_of_the_configuration_or_of_the_paper(blob_dataset: Path, tmp_path: Path) -> None:
    ids = {"dataset_dir": str(blob_dataset), "device": "cpu"}
    one_logit = {"classifier_dir": save_weights(tmp_path / "a", one_logit=True), "width": ONE_LOGIT_WIDTH}
    assert load_trained_classifier([CFD_TRAIN], ids | one_logit).crf == DenseCRF()
    assert load_trained_classifier([CFD_TRAIN], ids | one_logit | {"crf#empty_below": 0.3}).crf == DenseCRF(
        empty_below=0.3
    )
    without = {"classifier_dir": save_weights(tmp_path / "b"), "width": WIDTH}
    assert load_trained_classifier([TRAIN], ids | without).crf == DenseCRF()


def test_command_writes_the_tables_of_the_cfd_cam_paper(
    blob_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.dtype | None, float]] = []
    layer_maps = CfdCAM.layer_maps

    def counted(self: CfdCAM, *arguments: Any) -> list[torch.Tensor]:
        seen.append((self.scoring_dtype, self.channel_share))
        return layer_maps(self, *arguments)

    monkeypatch.setattr(CfdCAM, "layer_maps", counted)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("crf#iterations: 5\n")
    pairs = overrides(blob_dataset, save_weights(tmp_path / "c", one_logit=True), ONE_LOGIT_WIDTH)
    methods = ["gradcam", "scorecam", "layercam-5", "cfdcam-ss", "cfdcam-2x", "cfdcam"]
    options = ["--rules", "crf", "--target", "0", "--scoring_dtype", "bfloat16", "--channel-share", "0.5"]
    arguments = ["evaluate-cams", CFD_TRAIN, "--output-dir", str(tmp_path / "scores"), "--overlay", str(overlay)]
    result = CliRunner().invoke(app, [*arguments, "--methods", ",".join(methods), *options, *pairs])
    assert result.exit_code == 0, result.output
    assert set(seen) == {(torch.bfloat16, 0.5)}
    with (tmp_path / "scores/cam_scores.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["method"], row["rule"], row["threshold"], row["slices"]) for row in rows] == [
        (method, "crf", "", "4") for method in methods
    ]
    for row in rows:
        assert f"{float(row['iou_percent_mean']):.2f} ± {float(row['iou_percent_std']):.2f}" in result.output


@pytest.mark.parametrize("bundle", ["umcam", "ltgradcam"])
def test_command_writes_scores_and_sheet(blob_dataset: Path, tmp_path: Path, bundle: str) -> None:
    folder = tmp_path / "scores"
    train = TRAIN.replace("umcam", bundle)
    arguments = ["evaluate-cams", train, "--output-dir", str(folder), "--methods", "gradcam++,layercam-5"]
    pairs = overrides(blob_dataset, save_weights(tmp_path / "c", dilated=bundle == "umcam"))
    result = CliRunner().invoke(app, [*arguments, "--split", "test", *pairs])
    assert result.exit_code == 0, result.output
    with (folder / "cam_scores.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["method"], row["rule"]) for row in rows] == [
        (method, rule) for method in ("gradcam++", "layercam-5") for rule in ("otsu", "midpoint", "search")
    ]
    assert {row["slices"] for row in rows} == {"4"}
    assert all(row["threshold"] == "" or row["rule"] == "search" for row in rows)
    for row in rows:
        miou, f1 = float(row["miou_percent"]) / 100, float(row["f1_percent"]) / 100
        assert miou == pytest.approx(f1 / (2 - f1), abs=1e-4)
        assert f"{float(row['miou_percent']):.2f}" in result.output
    with (folder / "cam_slices.csv").open() as handle:
        assert len(list(csv.DictReader(handle))) == 6 * 4
    assert Image.open(folder / "cam_sheet.png").width == LABEL_WIDTH + 3 * (CELL + GAP)
    assert sorted(path.name for path in folder.iterdir()) == ["cam_scores.csv", "cam_sheet.png", "cam_slices.csv"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--split", "training"], "Error: split: expected validation or test, found 'training'"),
        (["--methods", "magic"], "found magic."),
        (["--classifier_dir", "nowhere"], "Error: Expected the trained classifier at nowhere/model.pt"),
        (["--width", "0.125"], "found weights of another network in"),
        (["--seed"], "Error: Expected pairs of --id value"),
        (["--rules", "magic"], "Error: rules: expected some of otsu, midpoint, search, crf, found magic."),
        (["--scoring_dtype", "float8"], "Error: --scoring-dtype: expected bfloat16 or float16, found 'float8'."),
        (["--methods", "cfdcam", "--channel_share", "0"], "Error: expected channel_share in (0, 1], found 0"),
    ],
)
def test_command_names_what_is_wrong(blob_dataset: Path, tmp_path: Path, extra: list[str], message: str) -> None:
    arguments = ["evaluate-cams", TRAIN, "--output-dir", str(tmp_path / "scores")]
    result = CliRunner().invoke(app, [*arguments, *overrides(blob_dataset, save_weights(tmp_path / "c")), *extra])
    assert result.exit_code == 1
    assert message in result.output


def test_command_names_a_missing_library(blob_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference.importlib.util, "find_spec", lambda library: None)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("crf#backend: pydensecrf\n")
    arguments = ["evaluate-cams", CFD_TRAIN, "--output-dir", str(tmp_path / "scores"), "--overlay", str(overlay)]
    pairs = overrides(blob_dataset, save_weights(tmp_path / "c", one_logit=True), ONE_LOGIT_WIDTH)
    result = CliRunner().invoke(app, [*arguments, *pairs])
    assert result.exit_code == 1
    assert "backend='pydensecrf' needs pydensecrf, which is not installed; install it with" in result.output
