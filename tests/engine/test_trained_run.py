"""What a training says about its prediction, for every bundle. The runs are configurations without a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.data import DataError
from camtools.engine.trained_run import TrainedRun, read_trained_run
from tests.bundles.conftest import BUNDLES, REPOSITORY, UMCAM, Bundle

ROOT = REPOSITORY / "bundles"
EVERY_BUNDLE = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)


def write_run(folder: Path, bundle: Bundle, *overlays: str, status: str = "done", **changes: Any) -> Path:
    """A run with empty files of weights, and the record that a training of ``bundle`` leaves."""
    parser = ConfigParser(ConfigParser.load_config_files(bundle.files("train.yaml", *overlays)))
    parser.update({"output_dir": str(folder), "export_dir": str(folder / "models")} | changes)
    (folder / "models").mkdir(parents=True)
    for name in bundle.models:
        (folder / "models" / name).touch()
    stages = {name: {"name": name, "fingerprint": "1", "status": "done", "outputs": {}} for name in bundle.stages}
    stages[bundle.stages[-1]]["status"] = status
    (folder / "manifest.json").write_text(json.dumps({"config": parser.get(), "stages": stages, "files": {}}))
    return folder


def read(folder: Path) -> TrainedRun:
    return read_trained_run(folder, ROOT)


@EVERY_BUNDLE
def test_a_training_with_the_defaults_needs_no_knob(bundle: Bundle, tmp_path: Path) -> None:
    found = read(write_run(tmp_path / "run", bundle))
    assert (found.bundle, found.knobs) == (ROOT / bundle.name, {})
    assert {path.name for path in found.weights.values()} == set(bundle.models)


@EVERY_BUNDLE
@pytest.mark.parametrize("preset", ["small", "paper"])
def test_presets_and_knobs_are_passed_on(bundle: Bundle, preset: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", bundle, f"{preset}.yaml", device="cuda:3", seed=5, slice_axis="coronal")
    expected = ConfigParser.load_config_files(bundle.files("train.yaml", f"{preset}.yaml")) | {"slice_axis": "coronal"}
    applied = ConfigParser.load_config_file(bundle.configs / "inference.yaml")
    found = read(run)
    assert found.bundle.name == bundle.name
    assert found.knobs["slice_axis"] == "coronal"
    assert {name: expected[name] for name in found.knobs} == found.knobs
    assert not {"device", "seed", "output_dir", "dataset_dir"} & set(found.knobs)
    for name in ("pixel_size", "width", "norm", "features", "in_channels"):
        assert (applied | found.knobs).get(name) == expected.get(name)


def test_weights_are_found_after_the_run_was_moved(tmp_path: Path) -> None:
    write_run(tmp_path / "run", UMCAM)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    weights = read(tmp_path / "moved").weights
    assert weights["checkpoint"] == tmp_path / "moved/models/model.pt"
    assert weights["classifier_checkpoint"] == tmp_path / "moved/models/classifier.pt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "running"}, "found the unfinished step 'evaluate'. Finish it"),
        ({"preprocessing#intensity#_target_": "my.Scaling"}, "found another 'preprocessing' in .*make the same change"),
        ({"classifier#network#_target_": "my.Network"}, "found another 'classifier#network' in"),
        ({"network_def#dropout": 0.5}, "found another 'network_def' in"),
        ({"method": "gradcam"}, "found the method 'gradcam' in .*exports none"),
        ({"export_dir": "/other/models"}, "its export_dir is /other/models. Another run may have written there"),
    ],
)
def test_what_inference_would_not_do_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(write_run(tmp_path / "run", UMCAM, **changes))


def test_a_training_alone_may_have_other_components(tmp_path: Path) -> None:
    changes = {"train#optimizer#lr": 0.1, "train#loss#_target_": "my.Loss", "classifier#trainer#lr_scheduler": None}
    assert read(write_run(tmp_path / "run", UMCAM, **changes)).knobs == {}


def test_missing_weights_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found no manifest.json .* in .*Give the --output-dir of camtools train"):
        read(tmp_path)
    run = write_run(tmp_path / "run", UMCAM)
    (run / "models/model.pt").unlink()
    with pytest.raises(DataError, match="Expected trained weights at .*model.pt, found none. Finish the training"):
        read(run)
    with pytest.raises(DataError, match="Expected a folder of bundles, found none in .*gone"):
        read_trained_run(run, tmp_path / "gone")
