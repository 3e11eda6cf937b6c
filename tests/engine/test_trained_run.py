"""What a training says about its prediction, for every bundle. The runs are configurations without a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.data import DataError, builtin_dataset, load_datalist, working_pixel_size
from camtools.engine.trained_run import TrainedRun, read_trained_run
from tests.bundles.conftest import BUNDLES, CFDCAM, LTGRADCAM, REPOSITORY, UMCAM, Bundle

ROOT = REPOSITORY / "bundles"
EVERY_BUNDLE = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)


def write_run(folder: Path, bundle: Bundle, *overlays: str, status: str = "done", **changes: Any) -> Path:
    """A run with empty files of weights, and the record that a training of ``bundle`` leaves."""
    parser = ConfigParser(ConfigParser.load_config_files(bundle.files("train.yaml", *overlays)))
    parser.update({"output_dir": str(folder), "export_dir": str(folder / "models")} | changes)
    parser.parse()  # as a run does before it records its configuration
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
    assert (found.files, found.knobs) == ([ROOT / bundle.name / "configs/inference.yaml"], {})
    assert {path.name for path in found.weights.values()} == set(bundle.models)


@EVERY_BUNDLE
@pytest.mark.parametrize("preset", ["small", "paper"])
def test_presets_and_knobs_are_passed_on(bundle: Bundle, preset: str, tmp_path: Path) -> None:
    if not (bundle.configs / f"{preset}.yaml").is_file():
        pytest.skip(f"the bundle {bundle.name} has no paper")
    run = write_run(tmp_path / "run", bundle, f"{preset}.yaml", device="cuda:3", seed=5, slice_axis="coronal")
    expected = ConfigParser.load_config_files(bundle.files("train.yaml", f"{preset}.yaml")) | {"slice_axis": "coronal"}
    applied = ConfigParser.load_config_file(bundle.configs / "inference.yaml")
    found = read(run)
    if "@splits" in str(expected["pixel_size"]):  # computed from the built-in phantoms
        items = load_datalist(builtin_dataset("tumour", n=expected["phantoms"]), "training")
        expected["in_channels"] = 1
        expected["pixel_size"] = working_pixel_size(items, expected["working_size"], "coronal")
    assert found.files == [ROOT / bundle.name / "configs/inference.yaml"]
    assert found.knobs["slice_axis"] == "coronal"
    assert {name: expected[name] for name in found.knobs} == found.knobs
    assert not {"device", "seed", "output_dir", "dataset_dir"} & set(found.knobs)
    for name in ("pixel_size", "width", "norm", "features", "in_channels"):
        assert (applied | found.knobs).get(name) == expected.get(name)


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_an_overlay_of_the_training_is_one_of_the_inference(bundle: Bundle, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", bundle, "segmenter.yaml", features=[8, 8, 8, 8, 8, 8], width=0.5)
    (run / "models/classifier.pt").touch()
    found = read(run)
    names = ["inference.yaml", "segmenter_inference.yaml"]
    assert [str(path) for path in found.files] == bundle.files(*names)
    assert found.knobs == {"width": 0.5, "features": [8, 8, 8, 8, 8, 8]}
    assert set(found.weights) == {"checkpoint", "classifier_checkpoint"}


def test_rounds_of_self_training_change_no_setting(tmp_path: Path) -> None:
    """The overlay of docs/how_to_segmenter.md: the weights that are scored lie in another folder."""
    changes = {"prediction#pipeline#weights": "$@output_dir + '/self_training/model.pt'"}
    changes["train#trainer#export_path"] = "$None"
    exported = {"self_training": {"rounds": {"export_path": "$@export_dir + '/model.pt'"}}}
    found = read(write_run(tmp_path / "run", UMCAM, **changes, **exported))
    assert found.knobs == {}
    assert found.weights["checkpoint"] == tmp_path / "run/models/model.pt"


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
        ({"classifier#kind#_target_": "my.Network"}, "found another 'classifier#kind' in"),
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
