"""train.yaml of the bundle that a training writes. The runs are configurations without a training."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.sharing.configs import run_knobs
from camtools.sharing.training import write_training
from tests.bundles.conftest import AUTO, BUNDLES, CFDCAM, LTGRADCAM, UMCAM, Bundle

OF_THE_MACHINE = {
    "dataset_dir": "/home/someone/data",
    "output_dir": "/home/someone/run",
    "export_dir": "/home/someone/run/models",
}


def written(bundle: Bundle, folder: Path, *overlays: str, **changes: Any) -> tuple[dict[str, Any], str]:
    """Content and text of train.yaml after a training."""
    files = ConfigParser.load_config_files(bundle.files("train.yaml", *overlays))
    known = {"pixel_size": 0.5, "in_channels": 4}  # bundles/auto computes them from the data
    config = ConfigParser(files | OF_THE_MACHINE | known)
    for name, value in changes.items():
        config[name] = value
    config.resolve_macro_and_relative_ids()  # as MONAI does in a run
    knobs = run_knobs(config.get(), bundle.configs.parent, Path("manifest.json"))
    (folder / "configs").mkdir()
    path = folder / "configs/train.yaml"
    done = write_training(config.get(), bundle.configs.parent, knobs, "model.pt", path.parent)
    assert done == path.is_file()
    return (ConfigParser.load_config_file(path), path.read_text()) if done else ({}, "")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_knobs_are_those_of_the_run_and_comments_stay(bundle: Bundle, tmp_path: Path) -> None:
    config, text = written(bundle, tmp_path, classifier_epochs=7, device="cuda:1", seed=5)
    shipped = ConfigParser.load_config_file(bundle.configs / "train.yaml")
    own = {"pixel_size": 0.5, "in_channels": 4, "classifier_epochs": 7, "seed": 5}
    own |= {"dataset_dir": None, "initial_weights": "$@bundle_root + '/models/model.pt'"}
    own |= {"export_dir": "$@output_dir + '/models'"}
    assert config == shipped | own
    lines = (bundle.configs / "train.yaml").read_text().splitlines()
    epochs = next(line for line in lines if line.startswith("classifier_epochs: "))
    assert "\n" + re.sub(r"\d+", "7", epochs, count=1) + "\n" in text
    assert "# ------------------------------------------------------------ knobs" in text
    assert "dataset_dir: null # folder with dataset.json\n" in text


@pytest.mark.parametrize("bundle", [UMCAM, CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_presets_and_overlays_are_part_of_it(bundle: Bundle, tmp_path: Path) -> None:
    overlays = ["small.yaml"] if bundle is UMCAM else ["small.yaml", "segmenter.yaml"]
    config, _ = written(bundle, tmp_path, *overlays)
    trained = ConfigParser(ConfigParser.load_config_files(bundle.files("train.yaml", *overlays)))
    trained.resolve_macro_and_relative_ids()
    names = (
        "classifier",
        "network_def",
        "train",
        "run",
        "architecture",
        "features" if bundle is UMCAM else "segmenter",
    )
    assert {name: config[name] for name in names} == {name: trained[name] for name in names}


def test_volumes_and_handlers_of_a_call_are_not_part_of_it(tmp_path: Path) -> None:
    items = ({"image": "/home/someone/a.nii.gz", "label": "/home/someone/b.nii.gz"},)
    given = {"train#dataset#data": items, "validate#dataset#data": (), "splits#test": [], "run": ["@bundle"]}
    config, text = written(UMCAM, tmp_path, **given)
    shipped = ConfigParser.load_config_file(UMCAM.configs / "train.yaml")
    assert {name: config[name] for name in ("train", "validate", "splits", "run")} == {
        name: shipped[name] for name in ("train", "validate", "splits", "run")
    }
    assert "someone" not in text


def test_a_choice_that_was_given_is_that_of_the_bundle(tmp_path: Path) -> None:
    config, _ = written(AUTO, tmp_path, choice="/home/someone/choice.json")
    assert config["choice"] == "$@bundle_root + '/models/choice.json'"


def test_path_of_the_machine_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert written(UMCAM, tmp_path, **{"classifier#trainer#folder": "/home/someone/c"}) == ({}, "")
    found = "train.yaml is not written, because 'classifier#trainer#folder' is a path of this machine, or no value"
    assert found in caplog.text
