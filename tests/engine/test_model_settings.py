"""What is stored with weights, and how it is compared. The end to end tests are in tests/bundles/test_settings.py."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from camtools.data import DataError
from camtools.engine.model_settings import applied_config, check_weights, settings_of_training
from camtools.networks.weight_settings import with_settings
from tests.bundles.conftest import BUNDLES, CFDCAM, UMCAM, Bundle

# knobs that shape the weights of every bundle
EVERYWHERE = {"slice_axis", "pixel_size", "intensity", "in_channels"}


def training(bundle: Bundle, *overlays: str, **changes: Any) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_files(bundle.files("train.yaml", *overlays)))
    places = {"bundle_root": str(bundle.configs.parent), "output_dir": "out", "phantoms": 5}
    parser.update(bundle.tiny | places | changes)
    return parser


def inference(bundle: Bundle, **changes: Any) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_file(bundle.configs / "inference.yaml"))
    parser.update({"bundle_root": str(bundle.configs.parent)} | changes)
    return parser


def write_weights(path: Path, **changes: Any) -> Path:
    settings = {"bundle": "UM-CAM + SPL", "knobs": {"pixel_size": 1.0, "features": [4, 8]}, "others": {}} | changes
    torch.save(with_settings(torch.nn.Linear(1, 1).state_dict(), settings), path)
    return path


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_knobs_of_a_training_are_stored_as_values(bundle: Bundle) -> None:
    applied = applied_config(bundle.configs.parent)
    builds = [name for name in ("train#trainer", "classifier#trainer") if name in training(bundle)]
    for build in builds:
        settings = settings_of_training(training(bundle), build)
        assert settings is not None
        assert settings["method"] == bundle.name or bundle is UMCAM
        knobs = settings["knobs"]
        assert set(knobs) >= EVERYWHERE
        assert set(knobs) | set(settings["others"]) <= set(applied)
        assert not {"amp", "pretrained", "device", "checkpoint", "gate"} & set(knobs)
        given = {name: value for name, value in bundle.tiny.items() if name in knobs and name != "pixel_size"}
        assert {name: knobs[name] for name in given} == given
        assert knobs["pixel_size"] is None
        assert "$" not in str(settings)


def test_each_file_has_the_knobs_of_its_own_training() -> None:
    segmenter = settings_of_training(training(UMCAM, in_channels=1, pixel_size="$1 / 4"), "train#trainer")
    classifier = settings_of_training(training(UMCAM), "classifier#trainer")
    assert segmenter is not None
    assert classifier is not None
    assert segmenter["knobs"]["features"] == [4, 4, 8, 8, 8, 4]
    assert segmenter["knobs"]["pixel_size"] == 0.25
    assert "width" not in segmenter["knobs"]
    assert "features" not in classifier["knobs"]
    assert (classifier["knobs"]["width"], classifier["knobs"]["norm"]) == (0.0625, "batch")


def test_choices_of_the_prediction_are_kept_apart_and_overlays_are_known() -> None:
    settings = settings_of_training(training(CFDCAM, "segmenter.yaml"), "segmenter#rounds")
    assert settings is not None
    assert settings["knobs"]["features"] == [16, 16, 32, 64, 128, 16]
    settings = settings_of_training(training(CFDCAM), "train#trainer")
    assert settings is not None
    assert settings["others"] == {
        "map_layer": -1,
        "scales": [1.0, 1.5],
        "scale_by_confidence": True,
        "channel_share": 1.0,
        "gate": True,
    }


def test_nothing_is_stored_outside_a_bundle(tmp_path: Path) -> None:
    assert settings_of_training(ConfigParser({"trainer": {}}), "trainer") is None
    assert settings_of_training(ConfigParser({"bundle_root": str(tmp_path), "trainer": {}}), "trainer") is None


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (
            {"pixel_size": 2.0, "features": [4, 8]},
            "Expected the settings with which {path} was trained, found pixel_size 2.0 instead of 1.0. "
            "Add --pixel_size 1.0, or run the bundle that the training wrote",
        ),
        (
            {"pixel_size": None},
            "found pixel_size null instead of 1.0, features [16, 16, 32, 64, 128, 16] instead of [4, 8]. "
            "Add --pixel_size 1.0 --features '[4, 8]', or",
        ),
    ],
)
def test_other_knobs_are_refused_in_one_message(here: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "model.pt")
    with pytest.raises(DataError, match=re.escape(message.format(path=path))):
        check_weights(inference(UMCAM, **here), [path], "network_def")


def test_equal_knobs_pass_however_they_are_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    knobs = {"pixel_size": 1, "features": [16, 16, 32, 64, 128, 16], "slice_axis": None, "of another version": 3}
    path = write_weights(tmp_path / "model.pt", knobs=knobs)
    parser = inference(UMCAM, pixel_size="$2 / 2", slice_axis="coronal")
    check_weights(parser, [str(path), {"image": "a.nii.gz"}, tmp_path / "gone.pt"], "network_def")
    assert caplog.text == ""


def test_weights_of_another_bundle_are_refused_by_name(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "model.pt", bundle="Cfd-CAM")
    message = (
        r"Expected weights that the bundle UM-CAM \+ SPL trained, found weights of Cfd-CAM in .*model\.pt\. Run the"
    )
    with pytest.raises(DataError, match=message):
        check_weights(inference(UMCAM), [path], "network_def")


def test_another_way_to_masks_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_weights(tmp_path / "model.pt", bundle="Cfd-CAM", knobs={}, others={"gate": True, "unused": 1})
    check_weights(inference(CFDCAM, gate=False, unused=2), [path], "network_def")
    assert "model.pt: masks are made in another way than in its training: gate false instead of true" in caplog.text
    assert "unused" not in caplog.text


def test_old_weights_say_how_to_get_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "model.pt")
    with caplog.at_level(logging.WARNING):
        check_weights(inference(UMCAM), [tmp_path / "model.pt"], "network_def")
    assert "holds no settings of its training" in caplog.text
    assert "To add them, run the command of its training again" in caplog.text


def test_a_training_may_start_from_other_settings(tmp_path: Path) -> None:
    check_weights(training(UMCAM), [write_weights(tmp_path / "start.pt")], "train#trainer")
