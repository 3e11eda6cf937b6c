"""bundles/ltgradcam: what it has beyond every bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from camtools.cams import LTGradCAM
from camtools.data import load_datalist
from camtools.metrics import slice_scores
from camtools.networks import VGG16CAM
from camtools.scores.metrics_csv import read_metrics
from camtools.thresholds import otsu
from tests.bundles.conftest import LTGRADCAM, Bundle, infer, train, without_settings
from tests.bundles.files import prepared_slices, values, write_image, write_photographs
from tests.bundles.test_train import stamps
from tests.conftest import blob_volume, write_volume


@pytest.fixture
def bundle() -> Bundle:
    return LTGRADCAM


def trained_classifier(folder: Path) -> VGG16CAM:
    model = VGG16CAM(width=LTGRADCAM.tiny["width"], norm="batch", dilated=False)
    model.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    return model.eval()


def test_files_hold_the_papers_map_and_its_otsu_mask(trained: Path, dataset: Path) -> None:
    model = trained_classifier(trained)
    for item in load_datalist(dataset, "training"):
        maps = LTGradCAM(model, model.cam_layers, percentile=20)(prepared_slices(item["image"])[2:4], target=1)
        maps = maps / maps.amax(dim=(1, 2, 3), keepdim=True)
        mask = maps > otsu(maps)[:, None, None, None]
        assert 0 < mask.float().mean() < 1
        written = values(trained / f"run/pseudo_labels/{item['case']}_cam.nii.gz")[..., 2:4]
        # the affine of the file turns no axis, so its voxels are those of the maps
        np.testing.assert_allclose(written, maps[:, 0].movedim(0, -1), rtol=1e-3, atol=1e-4)
        written = values(trained / f"run/pseudo_labels/{item['case']}_mask.nii.gz")[..., 2:4]
        assert np.mean(written != mask[:, 0].movedim(0, -1).numpy()) < 0.002


def test_prediction_is_the_mask_of_the_slices_the_classifier_calls_positive(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    weights = torch.load(trained / "models/model.pt", weights_only=True)
    slices = torch.cat([prepared_slices(item["image"]) for item in load_datalist(dataset, "test")])
    with torch.no_grad():
        scores = trained_classifier(trained)(slices).diff(dim=1)[:, 0]
    weights["classifier.bias"][1] -= scores.median()  # so that half of the slices are positive
    torch.save(weights, tmp_path / "model.pt")
    gated = infer(LTGRADCAM, dataset, tmp_path / "gated", tmp_path)
    plain = infer(LTGRADCAM, dataset, tmp_path / "plain", tmp_path, gate=False)
    positive = (scores > scores.median()).tolist()
    assert 0 < sum(positive) < len(positive)
    for index, item in enumerate(load_datalist(dataset, "test")):
        chosen = positive[6 * index : 6 * index + 6]
        masks, all_masks = values(gated / f"{item['case']}.nii.gz"), values(plain / f"{item['case']}.nii.gz")
        assert all_masks.any(axis=(0, 1)).all()
        assert masks.any(axis=(0, 1)).tolist() == chosen
        np.testing.assert_array_equal(masks[..., chosen], all_masks[..., chosen])


def test_pseudo_mask_scores_are_of_the_written_masks(trained: Path, dataset: Path) -> None:
    rows = [row for row in read_metrics(trained / "run/metrics.csv") if row.output == "pseudo_mask"]
    for item in load_datalist(dataset, "test"):
        mask = torch.from_numpy(values(trained / f"run/pseudo_labels/{item['case']}_mask.nii.gz")) > 0.5
        expected = slice_scores(mask, torch.from_numpy(values(Path(item["label"]))) > 0.5)
        found = [(row.slice_index, row.scores.dice) for row in rows if row.case == item["case"]]
        assert [index for index, _ in found] == [2, 3]
        np.testing.assert_allclose([dice for _, dice in found], [scores.dice for _, scores in expected], atol=1e-5)


def test_another_percentile_keeps_the_classifier(trained: Path, dataset: Path, tmp_path: Path) -> None:
    shared = {"classifier_dir": str(trained / "run/classifier")}
    before = stamps(trained / "run/classifier")
    run = train(LTGRADCAM, dataset, tmp_path, percentile=80, rule="midpoint", gate=False, **shared)
    assert stamps(trained / "run/classifier") == before
    case = load_datalist(dataset, "test")[0]["case"]
    for name in (f"pseudo_labels/{case}_cam.nii.gz", f"pseudo_labels/{case}_mask.nii.gz", f"predictions/{case}.nii.gz"):
        assert not np.array_equal(values(run / name), values(trained / "run" / name))


def test_wrong_rule_stops_before_the_first_volume(trained: Path, tmp_path: Path) -> None:
    write_volume(tmp_path / "in/a.nii.gz", blob_volume(1)[0])
    with pytest.raises(RuntimeError) as failure:
        infer(LTGRADCAM, tmp_path / "in", tmp_path / "out", trained / "models", rule="best")
    chain: BaseException | None = failure.value
    messages = []
    while chain is not None:
        messages.append(str(chain))
        chain = chain.__cause__
    assert any("expected rule 'otsu', 'midpoint' or a fraction" in message for message in messages)


def test_paper_overlay_has_the_papers_network_and_runs(dataset: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(LTGRADCAM.files("train.yaml", "paper.yaml"))
    assert (parser["width"], parser["norm"], parser["head"], parser["pretrained"]) == (1, None, "fully_connected", True)
    assert (parser["percentile"], parser["rule"], parser["method"]) == (20, "otsu", "ltgradcam")
    assert isinstance(parser["train#optimizer#lr"], float)
    options = {"pretrained": False, "image_size": [32, 32], "classifier_epochs": 1}
    run = train(LTGRADCAM, dataset, tmp_path, "paper.yaml", **options)
    assert "classifier.6.weight" in torch.load(run / "classifier/model.pt", weights_only=True)
    masks = infer(LTGRADCAM, dataset, tmp_path / "out", tmp_path / "models", norm="$None", head="fully_connected")
    assert len(list(masks.rglob("*.nii.gz"))) == 2


@pytest.mark.parametrize("colour", [False, True])
def test_photographs_from_training_to_scores(tmp_path: Path, colour: bool) -> None:
    data = write_photographs(tmp_path / "data", colour)
    channels = 3 if colour else 1
    run = train(LTGRADCAM, data, tmp_path, in_channels=channels, classifier_epochs=4)
    state = torch.load(tmp_path / "models/model.pt", weights_only=True)
    assert state["features.0.weight"].shape[1] == channels
    rows = read_metrics(run / "metrics.csv")
    assert [(row.split, row.case) for row in rows if row.output == "pseudo_mask"] == [
        ("validation", "images/validation_0"),
        ("test", "images/test_0"),
    ]
    assert len([row for row in rows if row.output == "prediction"]) == 4
    # images are stored with the column first, as MONAI reads them
    assert values(run / "pseudo_labels/images/training_0_mask.nii.gz").shape == (48, 40, 1)
    assert values(run / "pseudo_labels/images/training_1_mask.nii.gz").max() == 0
    masks = infer(LTGRADCAM, data, tmp_path / "out", tmp_path / "models", "evaluate.yaml", in_channels=channels)
    for case in ("images/test_0", "images/test_1"):
        np.testing.assert_array_equal(values(masks / f"{case}.nii.gz"), values(run / f"predictions/{case}.nii.gz"))
    assert len(read_metrics(tmp_path / "out/metrics.csv")) == 2


def test_photograph_is_neither_mirrored_nor_turned(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bright(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1)

    monkeypatch.setattr(f"{LTGRADCAM.network}.forward", bright)
    image = np.zeros((20, 30), np.uint8)
    image[2:5, 3:25] = 200
    image[2:15, 3:6] = 200
    write_image(tmp_path / "in/a.png", image)
    models = without_settings(trained / "models", tmp_path / "models")
    masks = infer(LTGRADCAM, tmp_path / "in", tmp_path / "out", models, pixel_size=0.5)
    np.testing.assert_array_equal(values(masks / "a.nii.gz")[..., 0].T > 0, image > 0)
