"""bundles/cfdcam: what it has beyond every bundle."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from camtools.cams import CfdCAM
from camtools.crf import DenseCRF
from camtools.data import load_datalist
from camtools.networks import ResNet18CAM
from tests.bundles.conftest import CFDCAM, Bundle, infer, train
from tests.bundles.files import prepared_slices, values, write_photographs
from tests.bundles.test_train import stamps


@pytest.fixture
def bundle() -> Bundle:
    return CFDCAM


def trained_classifier(folder: Path) -> ResNet18CAM:
    model = ResNet18CAM(width=CFDCAM.tiny["width"])
    model.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    return model.eval()


def test_files_hold_the_papers_map_and_its_mask(trained: Path, dataset: Path) -> None:
    model = trained_classifier(trained)
    for item in load_datalist(dataset, "training"):
        slices = prepared_slices(item["image"])[2:4]
        maps = CfdCAM(model, ["layer4"], scales=CFDCAM.tiny["scales"])(slices)
        written = values(trained / f"run/pseudo_labels/{item['case']}_cam.nii.gz")[..., 2:4]
        # the affine of the file turns no axis, so its voxels are those of the maps
        np.testing.assert_allclose(written, maps[:, 0].movedim(0, -1), rtol=1e-3, atol=1e-3)
        mask = DenseCRF()(slices, maps)[:, 1] > 0.5
        written = values(trained / f"run/pseudo_labels/{item['case']}_mask.nii.gz")[..., 2:4]
        assert np.mean(written != mask.movedim(0, -1).numpy()) < 0.01


def test_prediction_is_the_mask_of_the_slices_the_classifier_calls_positive(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    weights = torch.load(trained / "models/model.pt", weights_only=True)
    slices = torch.cat([prepared_slices(item["image"]) for item in load_datalist(dataset, "test")])
    with torch.no_grad():
        logits = trained_classifier(trained)(slices)[:, 0]
    factor = 8 / (logits - logits.median()).abs().median()  # half of the slices are positive, and confidently so
    weights["fc.weight"] *= factor
    weights["fc.bias"] = factor * (weights["fc.bias"] - logits.median())
    torch.save(weights, tmp_path / "model.pt")
    model = trained_classifier(trained)
    model.load_state_dict(weights)
    masks = infer(CFDCAM, dataset, tmp_path / "out", tmp_path)
    positive = logits > logits.median()
    expected = torch.zeros(len(slices), *slices.shape[2:], dtype=torch.bool)
    maps = CfdCAM(model, ["layer4"], scales=CFDCAM.tiny["scales"])(slices[positive])
    expected[positive] = DenseCRF()(slices[positive], maps)[:, 1] > 0.5
    assert expected.any()
    for index, item in enumerate(load_datalist(dataset, "test")):
        written = values(masks / f"{item['case']}.nii.gz") > 0
        of_volume = expected[6 * index : 6 * index + 6].movedim(0, -1).numpy()
        assert np.mean(written != of_volume) < 0.01
        assert not written[..., ~positive[6 * index : 6 * index + 6].numpy()].any()


def test_fine_tuning_starts_from_the_pretrained_features(trained: Path, dataset: Path, tmp_path: Path) -> None:
    pretrained = torch.load(trained / "run/pretraining/model.pt", weights_only=True)
    assert {key.split(".")[0] for key in pretrained} == {"classifier", "projection"}
    shared = {"pretrain_dir": str(trained / "run/pretraining")}
    before = stamps(trained / "run/pretraining")
    # a learning rate of nothing leaves the weights where pre-training left them (batch norm's statistics move on)
    overrides = {"train::optimizer::lr": 0.0, "train::lr_scheduler::eta_min": 0.0}
    run = train(CFDCAM, dataset, tmp_path, **shared, **overrides)
    assert stamps(trained / "run/pretraining") == before
    state = torch.load(run / "classifier/model.pt", weights_only=True)
    for name in ("conv1.weight", "layer4.1.conv2.weight", "layer2.0.bn1.weight"):
        assert torch.equal(state[name], pretrained[f"classifier.{name}"])


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_faster_settings_change_maps_a_little(trained: Path, dataset: Path, tmp_path: Path) -> None:
    places = {"pretrain_dir": str(trained / "run/pretraining"), "classifier_dir": str(trained / "run/classifier")}
    before = stamps(trained / "run/classifier")
    fast = {"channel_share": 0.5, "scoring_dtype": "$torch.bfloat16", "map_batch_size": 3}
    run = train(CFDCAM, dataset, tmp_path, **places, **fast)
    assert stamps(trained / "run/classifier") == before
    for item in load_datalist(dataset, "test"):
        name = f"pseudo_labels/{item['case']}_cam.nii.gz"
        difference = np.abs(values(run / name) - values(trained / "run" / name))
        assert 0 < difference.max() < 0.5


@pytest.mark.parametrize("instructions", [True, False])
def test_small_overlay_computes_in_bfloat16_only_in_hardware(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instructions: bool
) -> None:
    monkeypatch.setattr("camtools.precision.computes_in", lambda dtype, device: instructions)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}  # of training and of the maps

    def see(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d):
            seen[module.training].add(output.dtype)

    tiny = {"run": ["@check", "@pretrain", "@classify", "@pseudo_label"], "image_size": [32, 32], "pixel_size": "$None"}
    tiny |= {"width": 1.0, "pretrained": False}  # the weights are in a package
    with torch.nn.modules.module.register_module_forward_hook(see):
        train(CFDCAM, dataset, tmp_path, "small.yaml", **tiny, smallest_crop=0.6)
    bfloat16 = {torch.bfloat16} if instructions else set()
    assert seen[True] == (bfloat16 or {torch.float32})
    assert seen[False] == bfloat16 | {torch.float32}


def test_paper_overlay_has_the_papers_schedule() -> None:
    parser = ConfigParser()
    parser.read_config(CFDCAM.files("train.yaml", "paper.yaml"))
    assert (parser["width"], parser["learning_rate"], parser["weight_decay"]) == (1, 1e-4, 1e-5)
    assert parser["temperature"] == 0.07
    assert (parser["scales"], parser["channel_share"], parser["scale_by_confidence"]) == ([1, 2], 1, True)
    assert parser["train#optimizer#_target_"] == "torch.optim.Adam"
    crf = parser.get_parsed_content("crf")
    assert crf == DenseCRF(3, 3, 10, 13, 10, 10, empty_below=0.1)
    scheduler = parser.get_parsed_content("train#lr_scheduler")
    assert scheduler.eta_min == pytest.approx(5e-6)


def test_coloured_images_from_training_to_prediction(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=True)
    run = train(CFDCAM, data, tmp_path, in_channels=3)
    assert nib.load(run / "pseudo_labels/images/training_0_mask.nii.gz").shape == (48, 40, 1)
    masks = infer(CFDCAM, data, tmp_path / "out", tmp_path / "models", in_channels=3)
    assert len(list(masks.rglob("*.nii.gz"))) == 2
