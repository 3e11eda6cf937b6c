"""bundles/umcam: what it has beyond every bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from camtools.data import load_datalist
from camtools.engine.ablation import run_methods
from camtools.scores.metrics_csv import read_metrics
from camtools.thresholds import CANDIDATES
from tests.bundles.conftest import UMCAM, Bundle, command, infer, train
from tests.bundles.test_inference import bright
from tests.bundles.test_train import stamps
from tests.conftest import blob_volume, write_volume
from tests.reference.thresholds import reference_search_dice


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def bundle() -> Bundle:
    return UMCAM


def test_changed_loss_retrains_the_segmenter_alone(own_trained: Path, dataset: Path) -> None:
    run = own_trained / "run"
    before = stamps(run / "classifier") | stamps(run / "pseudo_labels")
    train(
        UMCAM, dataset, own_trained, **{"train#loss": {"_target_": "camtools.losses.DualPseudoLabelLoss", "lam": 0.5}}
    )
    assert stamps(run / "classifier") | stamps(run / "pseudo_labels") == before
    assert (run / "segmenter.old-1/model.pt").is_file()
    assert (run / "predictions.old-1").is_dir()


def learns_from_the_masks_of_its_maps(run: Path, dataset: Path) -> None:
    """The threshold of a run is that of a slow search, and its segmenter gets the maps at that threshold."""
    threshold = json.loads((run / "pseudo_masks/threshold.json").read_text())["threshold"]
    maps, truth = [], []
    for item in load_datalist(dataset, "validation"):
        mask = torch.from_numpy(values(Path(item["label"])) > 0).movedim(-1, 0)
        cam = torch.from_numpy(values(run / f"pseudo_labels/{item['case']}_cam.nii.gz")).movedim(-1, 0)
        maps.append(cam[mask.flatten(1).any(1), None])
        truth.append(mask[mask.flatten(1).any(1), None])
    assert threshold == reference_search_dice(torch.cat(maps), torch.cat(truth), list(CANDIDATES))
    for item in load_datalist(dataset, "training"):
        mask = values(run / f"pseudo_masks/{item['case']}_mask.nii.gz")
        np.testing.assert_array_equal(mask, values(run / f"pseudo_labels/{item['case']}_cam.nii.gz") > threshold)
        assert mask[..., [2, 3]].any()
        assert not mask[..., [0, 1, 4, 5]].any(), "slices tagged 0"


def test_baselines_learn_from_masks_at_the_searched_threshold(dataset: Path, tmp_path: Path) -> None:
    overrides = UMCAM.tiny | UMCAM.short | {"dataset_dir": str(dataset), "export_dir": str(tmp_path / "models")}
    runs = run_methods(UMCAM.files("train.yaml"), tmp_path, ["gradcam", "average", "umcam", "spl"], overrides)
    for run in runs[:3]:
        learns_from_the_masks_of_its_maps(run, dataset)
        manifest = json.loads((run / "manifest.json").read_text())
        assert manifest["stages"]["threshold"]["status"] == "done"
        page = (run / "report.html").read_text()
        assert 'role="columnheader">Pseudo-mask<' in page
        assert 'role="columnheader">Seeds<' not in page
    assert not (runs[3] / "pseudo_masks").exists()
    # spl has the maps of umcam, and its scores search the threshold at the end
    pseudo_masks = [[row for row in read_metrics(run / "metrics.csv") if row.output == "pseudo_mask"] for run in runs]
    assert pseudo_masks[2] == pseudo_masks[3]
    networks = [torch.load(run / "segmenter/model.pt", weights_only=True) for run in runs]
    name = next(iter(networks[0]))
    assert not torch.equal(networks[2][name], networks[3][name])


def test_baseline_with_other_maps_is_done_again(dataset: Path, tmp_path: Path) -> None:
    options = UMCAM.short | {"method": "gradcam"}
    run = train(UMCAM, dataset, tmp_path, **options)
    before = stamps(run)
    train(UMCAM, dataset, tmp_path, **options)
    assert stamps(run) == before
    case = load_datalist(dataset, "training")[0]["case"]
    (run / f"pseudo_masks/{case}_mask.nii.gz").unlink()
    train(UMCAM, dataset, tmp_path, **options)
    learns_from_the_masks_of_its_maps(run, dataset)
    train(UMCAM, dataset, tmp_path, **options, **{"pseudo_labels#cam#_target_": "camtools.cams.LayerCAM"})
    learns_from_the_masks_of_its_maps(run, dataset)
    assert (run / "pseudo_masks.old-1/threshold.json").is_file()
    assert (run / "segmenter.old-1/model.pt").is_file()


def test_full_supervision_needs_no_classifier(dataset: Path, tmp_path: Path) -> None:
    methods = list(ConfigParser.load_config_file(UMCAM.configs / "train.yaml")["methods"])
    assert methods == ["gradcam", "average", "umcam", "spl", "umcam+spl", "full"]
    run = train(UMCAM, dataset, tmp_path, method="full", segmenter_epochs=1)
    assert not (run / "classifier").exists()
    for item in load_datalist(dataset, "training"):
        mask = nib.load(item["label"]).get_fdata()
        target = nib.load(run / f"pseudo_labels/{item['case']}_spl.nii.gz").get_fdata()
        np.testing.assert_array_equal(target, mask)


def test_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a method of .* \(gradcam, average, umcam.*found 'magic'"):
        run_methods(UMCAM.files("train.yaml"), tmp_path, ["magic"])


def test_paper_overlay_has_the_papers_numbers_and_runs(dataset: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(UMCAM.files("train.yaml", "paper.yaml"))
    assert parser["classifier_epochs"] == parser["segmenter_epochs"] == 200
    optimizer = parser["classifier#optimizer"]
    assert (optimizer["lr"], optimizer["momentum"], optimizer["weight_decay"]) == (1e-3, 0.99, 5e-4)
    assert parser["classifier#trainer#train_data_loader#batch_size"] == 32
    segmenter = parser["train#optimizer"]
    assert (segmenter["lr"], segmenter["momentum"], segmenter["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert parser["train#trainer#train_data_loader#batch_size"] == 12
    assert parser["methods#umcam+spl#lam"] == 0.1
    assert (parser["width"], parser["features"]) == (1, [64, 128, 256, 512, 1024, 64])
    assert (train(UMCAM, dataset, tmp_path, "paper.yaml", **UMCAM.short) / "report.html").is_file()


def test_networks_of_the_paper_overlay_run(dataset: Path) -> None:
    parser = ConfigParser()
    parser.read_config(UMCAM.files("train.yaml", "paper.yaml"))
    parser.update({"dataset_dir": str(dataset), "device": "cpu"})
    for name in ("classifier#network", "network"):
        with torch.inference_mode():
            assert parser.get_parsed_content(name).eval()(torch.zeros(1, 1, 32, 32)).shape[1] == 2


def test_training_goes_on_after_kill_9(dataset: Path, tmp_path: Path) -> None:
    places = ["--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "run"), "--export_dir", str(tmp_path)]
    arguments = ["-m", "monai.bundle", "run", "--config_file", "configs/train.yaml", *places]
    process = subprocess.Popen(
        [*command(UMCAM, sys.executable, *arguments), "--classifier_epochs", "16"],
        cwd=UMCAM.configs.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as this process has: sums of other threads round otherwise
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "run/classifier/checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "run/classifier/model.pt").exists()
    assert 1 <= torch.load(checkpoint, weights_only=True)["epoch"] < 16
    options = {"classifier_epochs": 16, "run": ["@check", "@classify"]}
    killed = train(UMCAM, dataset, tmp_path, **options)
    whole = train(UMCAM, dataset, tmp_path / "whole", **options)
    histories = [json.loads((run / "classifier/history.json").read_text()) for run in (killed, whole)]
    assert [row["epoch"] for row in histories[0]] == list(range(1, 17))
    losses = [[row["loss"] for row in history] for history in histories]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


# ------------------------------------------------------------------ inference


def test_gate(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bright_on_the_whole(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        score = images.mean(dim=(1, 2, 3))[:, None] - 0.1
        return torch.cat([-score, score], dim=1)

    monkeypatch.setattr(f"{UMCAM.network}.forward", bright)
    monkeypatch.setattr("camtools.networks.VGG16CAM.forward", bright_on_the_whole)
    image = np.zeros((20, 20, 3), np.int16)
    image[2:12, 2:12, 0] = 100
    image[0:3, 0:3, 2] = 100
    write_volume(tmp_path / "in/a.nii.gz", image)
    for gate in (False, True):
        masks = infer(UMCAM, tmp_path / "in", tmp_path / str(gate), trained / "models", gate=gate)
        mask = np.asarray(nib.load(masks / "a.nii.gz").dataobj)
        np.testing.assert_array_equal(mask[..., 0], image[..., 0] > 0)
        assert mask[..., 2].sum() == (0 if gate else 9)


def test_broken_volume_does_not_lose_the_others(trained: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        write_volume(tmp_path / f"in/{name}.nii.gz", blob_volume(1)[0])
    (tmp_path / "in/b.nii.gz").write_bytes(b"not an image")
    broken = blob_volume(2)[0].astype(np.float32)
    broken[0, 0, 0] = np.nan
    write_volume(tmp_path / "in/d.nii.gz", broken)
    places = ["--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    models = ["--checkpoint", str(trained / "models/model.pt")]
    tiny = [f"--features={UMCAM.tiny['features']}", "--pixel_size=$None", "--device=cpu"]
    arguments = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml", *places, *models, *tiny]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=UMCAM.configs.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-3:]
    assert "Error: predict: 2 of 4 volumes failed, the other 2 are done" in last[0]
    assert "in/b.nii.gz: Expected gzip-compressed NIfTI" in last[1]
    assert "found 1 NaN or infinite voxels" in last[2]
    assert "in/d.nii.gz" in last[2]
    assert sorted(path.name for path in (tmp_path / "out/predictions").glob("*.nii.gz")) == ["a.nii.gz", "c.nii.gz"]
