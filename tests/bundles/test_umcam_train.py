"""bundles/umcam: training, every method, every overlay."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from camtools.data import load_datalist
from camtools.engine.ablation import run_methods
from camtools.engine.compare import compare, format_table
from camtools.engine.metrics_csv import read_metrics
from tests.bundles.conftest import CONFIGS, REPOSITORY, TINY, train


def stamps(folder: Path) -> dict[str, int]:
    skipped = ("manifest.json", "report.html", "contact_sheet.png")
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name not in skipped
    }


def test_run_leaves_everything_the_design_names(trained: Path, dataset: Path) -> None:
    run = trained / "run"
    names = ["classifier/model.pt", "segmenter/model.pt", "metrics.csv", "report.html", "manifest.json"]
    assert not [name for name in [*names, "dataset_check.json", "contact_sheet.png"] if not (run / name).is_file()]
    assert {path.name for path in (trained / "models").iterdir()} == {"classifier.pt", "model.pt"}
    manifest = json.loads((run / "manifest.json").read_text())
    stages = ("check", "classify", "pseudo_label", "segment", "predict", "evaluate")
    assert [manifest["stages"][name]["status"] for name in stages] == ["done"] * 6
    assert manifest["method"] == "umcam+spl"
    rows = read_metrics(run / "metrics.csv")
    assert {(row.split, row.output) for row in rows} == {
        (split, output) for split in ("validation", "test") for output in ("pseudo_mask", "prediction")
    }
    assert not list(run.rglob(".part-*"))


def test_outputs_lie_on_the_voxels_of_their_inputs(trained: Path, dataset: Path) -> None:
    for split, folders in (("test", ("predictions", "pseudo_labels")), ("training", ("pseudo_labels",))):
        for item in load_datalist(dataset, split):
            source = nib.load(item["image"])
            for folder in folders:
                for path in (trained / "run" / folder).glob(f"{item['case']}*.nii.gz"):
                    output = nib.load(path)
                    assert output.shape == source.shape
                    np.testing.assert_allclose(output.affine, source.affine, atol=1e-5)
                    assert output.header.get_xyzt_units() == source.header.get_xyzt_units()


def test_negative_slices_are_pure_background(trained: Path, dataset: Path) -> None:
    for item in load_datalist(dataset, "training"):
        for suffix in ("cam", "spl"):
            values = nib.load(trained / f"run/pseudo_labels/{item['case']}_{suffix}.nii.gz").get_fdata()
            assert values[..., [0, 1, 4, 5]].max() == 0
            assert 0 <= values.min() <= values.max() <= 1


def test_second_run_skips_every_stage(trained: Path, dataset: Path) -> None:
    before = stamps(trained)
    train(dataset, trained)
    assert stamps(trained) == before


def test_lost_file_of_a_stage_is_written_again(trained: Path, dataset: Path) -> None:
    (trained / "run/metrics.csv").unlink()
    before = stamps(trained / "run/predictions")
    train(dataset, trained)
    assert (trained / "run/metrics.csv").is_file()
    assert stamps(trained / "run/predictions") == before


def test_changed_loss_retrains_the_segmenter_alone(dataset: Path, tmp_path: Path) -> None:
    run = train(dataset, tmp_path)
    before = stamps(run / "classifier") | stamps(run / "pseudo_labels")
    train(dataset, tmp_path, **{"train#loss": {"_target_": "camtools.losses.DualPseudoLabelLoss", "lam": 0.5}})
    assert stamps(run / "classifier") | stamps(run / "pseudo_labels") == before
    assert (run / "segmenter.old-1/model.pt").is_file()
    assert (run / "predictions.old-1").is_dir()


def test_masks_of_training_items_change_nothing_once_tags_are_given(dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    for name in ("images", "labels"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(dataset / name)
    content["training"] = [{"image": item["image"], "slice_labels": [0, 0, 1, 1, 0, 0]} for item in content["training"]]
    (tmp_path / "data/dataset.json").write_text(json.dumps(content))
    untagged, tagged = train(dataset, tmp_path / "a"), train(tmp_path / "data", tmp_path / "b")
    states = [torch.load(run / "segmenter/model.pt", weights_only=True) for run in (untagged, tagged)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_every_method_runs_and_they_compare(dataset: Path, tmp_path: Path) -> None:
    methods = list(ConfigParser.load_config_file(str(CONFIGS / "train.yaml"))["methods"])
    assert methods == ["gradcam", "average", "umcam", "spl", "umcam+spl", "full"]
    overrides = TINY | {"dataset_dir": str(dataset), "export_dir": str(tmp_path / "models")}
    runs = run_methods([CONFIGS / "train.yaml"], tmp_path, methods, overrides | {"segmenter_epochs": 1})
    table = format_table(compare(runs, split="test"))
    assert [name for name in methods if name in table] == methods
    assert (tmp_path / "classifier/model.pt").is_file()
    assert not (tmp_path / "classifier.old-1").exists()
    assert not (tmp_path / "full/classifier").exists()
    for item in load_datalist(dataset, "training"):
        mask = nib.load(item["label"]).get_fdata()
        target = nib.load(tmp_path / f"full/pseudo_labels/{item['case']}_spl.nii.gz").get_fdata()
        np.testing.assert_array_equal(target, mask)


def test_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown method 'magic': .* knows gradcam, average, umcam"):
        run_methods([CONFIGS / "train.yaml"], tmp_path, ["magic"])


def test_training_without_validation_masks(dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(dataset / name)
    content["validation"] = []
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    run = train(tmp_path, tmp_path)
    assert {(row.split, row.output) for row in read_metrics(run / "metrics.csv")} == {("test", "prediction")}


def test_paper_overlay_has_the_papers_numbers_and_runs(dataset: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / "paper.yaml")])
    assert parser["classifier_epochs"] == parser["segmenter_epochs"] == 200
    optimizer = parser["classifier#optimizer"]
    assert (optimizer["lr"], optimizer["momentum"], optimizer["weight_decay"]) == (1e-3, 0.99, 5e-4)
    assert parser["classifier#trainer#train_data_loader#batch_size"] == 32
    segmenter = parser["train#optimizer"]
    assert (segmenter["lr"], segmenter["momentum"], segmenter["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert parser["train#trainer#train_data_loader#batch_size"] == 12
    assert parser["methods#umcam+spl#lam"] == 0.1
    sizes = {"width": 1.0, "features": [64, 128, 256, 512, 1024, 64], "classifier_epochs": 1, "segmenter_epochs": 1}
    assert (train(dataset, tmp_path, "paper.yaml", **sizes) / "report.html").is_file()


def command(*arguments: str) -> list[str]:
    tiny = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    return [*arguments, *tiny]


def test_two_processes_train_the_same_stages(dataset: Path, tmp_path: Path) -> None:
    files = f"['{CONFIGS / 'train.yaml'}', '{CONFIGS / 'multi_gpu_train.yaml'}']"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    places = ["--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "run"), "--export_dir", str(tmp_path)]
    done = subprocess.run(
        command(*launcher, "-m", "monai.bundle", "run", "--config_file", files, *places),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "run/pseudo_labels").glob("*_cam.nii.gz"))) == 7
    assert len(list((tmp_path / "run/predictions").glob("*.nii.gz"))) == 4
    assert len(read_metrics(tmp_path / "run/metrics.csv")) == 4 + 8


def test_training_goes_on_after_kill_9(dataset: Path, tmp_path: Path) -> None:
    places = ["--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "run"), "--export_dir", str(tmp_path)]
    arguments = ["-m", "monai.bundle", "run", "--config_file", "configs/train.yaml", *places]
    process = subprocess.Popen(
        [*command(sys.executable, *arguments), "--classifier_epochs", "40"],
        cwd=CONFIGS.parent,
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
    assert 1 <= torch.load(checkpoint, weights_only=True)["epoch"] < 40
    killed = train(dataset, tmp_path, classifier_epochs=40)
    whole = train(dataset, tmp_path / "whole", classifier_epochs=40)
    histories = [json.loads((run / "classifier/history.json").read_text()) for run in (killed, whole)]
    assert [row["epoch"] for row in histories[0]] == list(range(1, 41))
    losses = [[row["loss"] for row in history] for history in histories]
    # the killed process had other threads, whose sums round otherwise
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-2)


def test_properties_of_training(dataset: Path, tmp_path: Path) -> None:
    workflow = monai.bundle.ConfigWorkflow(
        config_file=str(CONFIGS / "train.yaml"),
        workflow_type="train",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path),
        **TINY,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.max_epochs == 2
    assert len(workflow.train_dataset_data) == 3
