"""bundles/oeem: what it has beyond every bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from camtools.cams import PatchClassMaps
from camtools.data import PatchTagger, load_datalist
from camtools.networks import PSPNet, ResNet38
from camtools.patches import PatchGrid
from camtools.scores.metrics_csv import read_metrics
from camtools.scores.pooled import read_pooled
from camtools.transforms import PrepareVolumed
from tests.bundles.conftest import OEEM, UMCAM, Bundle, infer, train, without_settings
from tests.bundles.files import prepared_slices, values, write_photographs

NETWORK = {"in_channels": 1, "width": OEEM.tiny["width"], "norm": "group"}


@pytest.fixture
def bundle() -> Bundle:
    return OEEM


def normalized(path: str) -> torch.Tensor:
    return (prepared_slices(path) - 0.5) / 0.25


def trained_segmenter(folder: Path) -> PSPNet:
    network = PSPNet(ResNet38(**NETWORK), channels=round(512 * OEEM.tiny["width"]), norm="group")
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    return network.eval()


def test_files_hold_the_class_maps_and_the_largest_present_class(trained: Path, dataset: Path) -> None:
    model = ResNet38(**NETWORK)
    model.load_state_dict(torch.load(trained / "models/classifier.pt", weights_only=True))
    maps = PatchClassMaps(model, PatchGrid(16, 8), scales=OEEM.tiny["scales"], input_size=OEEM.tiny["input_size"])
    tagger = PatchTagger(PrepareVolumed(), PatchGrid(16, 8))
    for item in load_datalist(dataset, "training"):
        slices, tags = normalized(item["image"]), tagger(item)
        expected = {"unrefined": maps(slices)[:, 1], "cam": maps(slices, tags)[:, 1]}
        for kind, found in expected.items():
            written = values(trained / f"run/pseudo_labels/{item['case']}_{kind}.nii.gz")
            # the affine of the file turns no axis, so its voxels are those of the maps
            np.testing.assert_allclose(written, found.movedim(0, -1), atol=1e-3)
        written = values(trained / f"run/pseudo_labels/{item['case']}_mask.nii.gz")
        assert set(np.unique(written)) <= {0, 1}
        assert np.mean(written != (expected["cam"] > 0.5).movedim(0, -1).numpy()) < 0.01


def test_prediction_is_the_mean_over_mirror_images_and_windows(trained: Path, dataset: Path, tmp_path: Path) -> None:
    models = without_settings(trained / "models", tmp_path / "models")
    masks = infer(OEEM, dataset, tmp_path, models, crop_size=[40, 40])
    network = trained_segmenter(trained)
    for item in load_datalist(dataset, "test"):
        slices = normalized(item["image"])
        padded = torch.nn.functional.pad(slices, (2, 2, 4, 4), mode="replicate")
        shares = torch.zeros(len(slices), 2, *slices.shape[2:])
        with torch.no_grad():
            for axes in ([], [2], [3]):
                shares += network(padded.flip(axes)).flip(axes).softmax(dim=1)[:, :, 4:-4, 2:-2] / 3
        expected = shares.argmax(dim=1).movedim(0, -1).numpy()
        assert np.mean(values(masks / f"{item['case']}.nii.gz") != expected) < 0.01


def test_coloured_images_with_numbered_glands(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=True)
    for path in (data / "labels").glob("*.png"):
        mask = (np.asarray(Image.open(path)) > 0).astype(np.uint8)
        mask[30:36, 4:10] = 2
        Image.fromarray(mask).save(path)
    run = train(OEEM, data, tmp_path, in_channels=3, intensity_mean=[0.4, 0.5, 0.5])
    assert nib.load(run / "pseudo_labels/images/training_0_mask.nii.gz").shape == (48, 40, 1)
    rows = {(row.split, row.output): row for row in read_pooled(run / "pooled_metrics.csv")}
    assert set(rows) == {
        (split, out) for split in ("validation", "test") for out in ("cam", "pseudo_mask", "prediction")
    }
    assert all(row.images == 2 and row.object_dice is not None for row in rows.values())
    predictions = [row.scores for row in read_metrics(run / "metrics.csv") if row.output == "prediction"]
    assert [scores.hd95_mm for scores in predictions] == [None] * 4  # a PNG has no millimetres
    network = {"in_channels": 3, "intensity_mean": [0.4, 0.5, 0.5]}
    masks = infer(OEEM, data, tmp_path / "out", tmp_path / "models", "evaluate.yaml", **network)
    assert len(list(masks.rglob("*.nii.gz"))) == 2
    assert read_pooled(tmp_path / "out/pooled_metrics.csv") == [rows["test", "prediction"]]


def test_full_supervision_learns_from_the_masks(dataset: Path, tmp_path: Path) -> None:
    run = train(OEEM, dataset, tmp_path, method="full", segmenter_epochs=1)
    assert not (run / "classifier").exists()
    assert not (run / "pseudo_labels").exists()
    for item in load_datalist(dataset, "training"):
        written = nib.load(run / f"masks/{item['case']}_mask.nii.gz")
        np.testing.assert_array_equal(written.get_fdata(), nib.load(item["label"]).get_fdata())
    assert not (tmp_path / "models/model.pt").exists()


def test_paper_overlay_has_the_papers_schedule() -> None:
    parser = ConfigParser()
    parser.read_config(OEEM.files("train.yaml", "paper.yaml"))
    assert (parser["patch_size"], parser["patch_stride"], parser["input_size"]) == (112, 56, 224)
    assert parser["min_patch_fraction"] == 0.05
    assert parser["scales"] == [1, 1.25, 1.5, 1.75, 2]
    assert parser["test_scales"] == [0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3]
    assert int(parser["crop_size"][0] * (1 - parser["window_overlap"])) == 256
    assert (parser["classifier_rate"], parser["classifier_batch_size"], parser["classifier_epochs"]) == (0.01, 20, 20)
    assert (parser["segmenter_rate"], parser["segmenter_batch_size"]) == (5e-3, 32)
    iterations = parser["segmenter_epochs"] * (85 * parser["crops_per_slice"] // parser["segmenter_batch_size"])
    assert 9_900 <= iterations <= 10_000
    assert (parser["architecture"], parser["width"], parser["norm"], parser["method"]) == (
        "resnet38",
        1,
        "frozen",
        "oeem",
    )
    assert parser["methods#oeem#weighting"] == "loss_norm"


def test_runs_share_their_pseudo_masks_and_panels(trained: Path, dataset: Path, tmp_path: Path) -> None:
    shared = {
        f"{name}_dir": str(trained / "run" / f"{name}{s}") for name, s in (("classifier", ""), ("pseudo_label", "s"))
    }
    before = {path: path.stat().st_mtime_ns for path in (trained / "run/pseudo_labels").rglob("*.nii.gz")}
    run = train(OEEM, dataset, tmp_path, method="baseline", segmenter_epochs=1, **shared)
    assert before == {path: path.stat().st_mtime_ns for path in (trained / "run/pseudo_labels").rglob("*.nii.gz")}
    assert not (run / "pseudo_labels").exists()
    assert 'role="columnheader">Pseudo-mask<' in (run / "report.html").read_text()


def test_untagged_training_images_are_named(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=True)
    content = json.loads((data / "dataset.json").read_text())
    del content["training"][0]["label"]
    content["training"][0]["slice_labels"] = [1]
    (data / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(RuntimeError) as failure:
        train(OEEM, data, tmp_path, in_channels=3)
    message = str(failure.value.__cause__)
    assert "Expected patch tags or a mask, found neither for" in message
    assert "training_0.png" in message


def test_loss_serves_another_bundles_segmenter(
    train_once: Callable[[Bundle], Path], dataset: Path, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/methods/oeem.md").read_text()
    overlay = next(block for block in page.split("```yaml\n")[1:] if "umcam" in block).partition("```")[0]
    (tmp_path / "oeem_loss.yaml").write_text(overlay)
    shared = {"classifier_dir": str(train_once(UMCAM) / "run/classifier")}
    run = train(UMCAM, dataset, tmp_path, str(tmp_path / "oeem_loss.yaml"), **shared)
    history = json.loads((run / "segmenter/history.json").read_text())
    usual = json.loads((train_once(UMCAM) / "run/segmenter/history.json").read_text())
    assert [row["loss"] for row in history] != [row["loss"] for row in usual]
    assert (run / "report.html").is_file()
