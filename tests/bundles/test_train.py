"""What every bundle's training does, and every overlay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from camtools.data import PatchTagger, load_datalist
from camtools.data.patch_tags import write_patch_tags
from camtools.engine.ablation import run_methods
from camtools.engine.locks import LOCK_NAME
from camtools.scores.compare import compare, format_table
from camtools.scores.metrics_csv import read_metrics
from camtools.transforms import PrepareVolumed
from tests.bundles.conftest import REPOSITORY, Bundle, command, infer, train


def stamps(folder: Path) -> dict[str, int]:
    skipped = ("manifest.json", "report.html", "contact_sheet.png", LOCK_NAME)
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name not in skipped
    }


def test_run_leaves_everything_the_design_names(bundle: Bundle, trained: Path) -> None:
    run = trained / "run"
    names = ["classifier/model.pt", "metrics.csv", "report.html", "manifest.json", "dataset_check.json"]
    assert not [name for name in [*names, "contact_sheet.png"] if not (run / name).is_file()]
    assert (run / "segmenter/model.pt").is_file() == ("segment" in bundle.stages)
    assert sorted(path.name for path in (trained / "models").iterdir()) == sorted(bundle.models)
    manifest = json.loads((run / "manifest.json").read_text())
    assert {name: stage["status"] for name, stage in manifest["stages"].items()} == dict.fromkeys(bundle.stages, "done")
    config = ConfigParser.load_config_file(bundle.configs / "train.yaml")
    assert manifest["method"] == config["method"] in config["methods"]
    rows = read_metrics(run / "metrics.csv")
    assert {(row.split, row.output) for row in rows} == {
        (split, output) for split in ("validation", "test") for output in ("pseudo_mask", "prediction")
    }
    assert not list(run.rglob(".part-*"))


def test_report_speaks_of_what_the_bundle_does(bundle: Bundle, trained: Path) -> None:
    page = (trained / "run/report.html").read_text()
    assert 'class="note"' not in page
    for stage, words in (("segment", "Segmenter loss"), ("classify", "Classifier loss")):
        assert (words in page) == (stage in bundle.stages)
    for kind, heading in (("spl", "Pseudo-label"), ("spl", "Seeds"), ("mask", "Pseudo-mask"), ("cam", "Fused map")):
        assert (f'role="columnheader">{heading}<' in page) == (kind in bundle.pseudo_labels)


def test_outputs_lie_on_the_voxels_of_their_inputs(bundle: Bundle, trained: Path, dataset: Path) -> None:
    for split in ("training", "test"):
        for item in load_datalist(dataset, split):
            source = nib.load(item["image"])
            outputs = [f"pseudo_labels/{item['case']}_{kind}.nii.gz" for kind in bundle.pseudo_labels]
            outputs += [f"predictions/{item['case']}.nii.gz"] if split == "test" else []
            for name in outputs:
                output = nib.load(trained / "run" / name)
                assert output.shape == source.shape
                np.testing.assert_allclose(output.affine, source.affine, atol=1e-5)
                assert output.header.get_xyzt_units() == source.header.get_xyzt_units()


def test_negative_slices_are_pure_background(bundle: Bundle, trained: Path, dataset: Path) -> None:
    for item in load_datalist(dataset, "training"):
        for kind in bundle.pseudo_labels:
            values = nib.load(trained / f"run/pseudo_labels/{item['case']}_{kind}.nii.gz").get_fdata()
            assert values[..., [0, 1, 4, 5]].max() == 0
            assert 0 <= values.min() <= values.max() <= 1


def test_second_run_skips_every_stage(bundle: Bundle, own_trained: Path, dataset: Path) -> None:
    before = stamps(own_trained)
    train(bundle, dataset, own_trained)
    assert stamps(own_trained) == before


def test_lost_file_of_a_stage_is_written_again(bundle: Bundle, own_trained: Path, dataset: Path) -> None:
    (own_trained / "run/metrics.csv").unlink()
    before = stamps(own_trained / "run/predictions")
    train(bundle, dataset, own_trained)
    assert (own_trained / "run/metrics.csv").is_file()
    assert stamps(own_trained / "run/predictions") == before


def test_given_tags_instead_of_masks_no_cache_and_workers_change_no_weight(
    bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path
) -> None:
    """One training for three promises, since a training takes long."""
    content = json.loads((dataset / "dataset.json").read_text())
    for name in ("images", "labels"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(dataset / name)
    tags: dict[str, Any] = {"slice_labels": [0, 0, 1, 1, 0, 0]}
    if bundle.patches is not None:
        tags = {"patch_labels": "tags.csv"}
        tagger = PatchTagger(PrepareVolumed(), bundle.patches)
        write_patch_tags(load_datalist(dataset, "training"), tagger, tmp_path / "data/tags.csv", derive=True)
    content["training"] = [{"image": item["image"]} | tags for item in content["training"]]
    (tmp_path / "data/dataset.json").write_text(json.dumps(content))
    trainings = [f"@{stage}" for stage in bundle.stages if stage not in ("predict", "evaluate")]
    assert list((trained / "run/cache").glob("*.npy"))
    train(bundle, tmp_path / "data", tmp_path, run=trainings, cache_dir="$None", num_workers=2)
    assert not (tmp_path / "run/cache").exists()
    for name in [name for name in bundle.models if name.endswith(".pt")]:
        states = [torch.load(folder / "models" / name, weights_only=True) for folder in (trained, tmp_path)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_training_without_validation_volumes(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(dataset / name)
    content["validation"] = []
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    rows = read_metrics(train(bundle, tmp_path, tmp_path, **bundle.short) / "metrics.csv")
    assert {row.split for row in rows} == {"test"}
    # the threshold of a pseudo-mask is either the method's own or searched on validation slices
    own_threshold = "mask" in bundle.pseudo_labels
    assert {row.output for row in rows} == ({"prediction", "pseudo_mask"} if own_threshold else {"prediction"})


def test_every_method_runs_and_they_compare(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    methods = list(ConfigParser.load_config_file(bundle.configs / "train.yaml")["methods"])
    overrides = bundle.tiny | bundle.short | {"dataset_dir": str(dataset), "export_dir": str(tmp_path / "models")}
    runs = run_methods(bundle.files("train.yaml"), tmp_path, methods, overrides)
    table = format_table(compare(runs, split="test"))
    assert all(f"| {name} |" in table for name in methods)
    assert (tmp_path / "classifier/model.pt").is_file()
    assert not (tmp_path / "classifier.old-1").exists()
    assert not list(tmp_path.glob("*/classifier"))
    assert (tmp_path / "pretraining/model.pt").is_file() == ("pretrain" in bundle.stages)
    assert not (tmp_path / "pretraining.old-1").exists()
    assert not list(tmp_path.glob("*/pretraining"))


@pytest.mark.parametrize("overlay", ["paper.yaml", "small.yaml", "multi_gpu_train.yaml"])
def test_overlays_change_ids_that_exist(bundle: Bundle, overlay: str) -> None:
    if not (bundle.configs / overlay).is_file():
        pytest.skip(f"the bundle {bundle.name} has no paper")
    parser = ConfigParser()
    parser.read_config(bundle.files("train.yaml"))
    names = [name for name in ConfigParser.load_config_file(bundle.configs / overlay) if name != "finalize"]
    assert names
    assert not [name for name in names if name not in parser and not in_template(parser, name)]


def in_template(parser: ConfigParser, name: str) -> bool:
    """Whether the template of the component that ``name`` is an argument of sets this argument."""
    component, _, argument = name.rpartition("#")
    target = str(parser.get(f"{component}#_target_", ""))
    return target.startswith("$@") and f"{target.removeprefix('$@')}#{argument}" in parser


def test_small_overlay_runs(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    small = {"architecture": "efficientnet_lite0", "width": 1.0, "pretrained": False}  # the weights are in a package
    if "architecture" in bundle.tiny or "width" not in bundle.tiny:
        small = {}
    run = train(bundle, dataset, tmp_path, "small.yaml", **bundle.short, **small, pixel_size=0.5)
    assert nib.load(next((run / "predictions").rglob("*.nii.gz"))).shape == (32, 36, 6)


def test_two_processes_train_the_same_stages(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    files = str(bundle.files("train.yaml", "multi_gpu_train.yaml"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    places = ["--dataset_dir", str(dataset), "--output_dir", str(tmp_path / "run"), "--export_dir", str(tmp_path)]
    done = subprocess.run(
        command(bundle, *launcher, "-m", "monai.bundle", "run", "--config_file", files, *places),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "run/pseudo_labels").rglob("*_cam.nii.gz"))) == 7
    assert len(list((tmp_path / "run/predictions").rglob("*.nii.gz"))) == 4
    assert len(read_metrics(tmp_path / "run/metrics.csv")) == 4 + 8


def test_properties_of_training(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=bundle.files("train.yaml"),
        workflow_type="train",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path),
        **bundle.tiny,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.max_epochs == 2
    assert len(workflow.train_dataset_data) == 3


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_switches_of_training(bundle: Bundle, trained: Path, dataset: Path, tmp_path: Path) -> None:
    run = train(bundle, dataset, tmp_path, amp=True, channels_last=True)
    for path in sorted((trained / "run").glob("*/model.pt")):
        plain = torch.load(path, weights_only=True)
        switched = torch.load(run / path.relative_to(trained / "run"), weights_only=True)
        weights = [value for value in switched.values() if value.ndim == 4 and min(value.shape[1:]) > 1]
        assert all(value.is_contiguous(memory_format=torch.channels_last) for value in weights), path
        assert plain.keys() == switched.keys()
        assert any(not torch.equal(plain[key], switched[key]) for key in plain)
    assert (run / "report.html").is_file()
    infer(bundle, dataset, tmp_path / "out", tmp_path / "models", channels_last=False)
