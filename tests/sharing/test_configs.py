"""inference.yaml with the settings of a run as its defaults. The runs are configurations without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.data import DataError
from camtools.sharing.configs import run_knobs, write_configs
from tests.bundles.conftest import CFDCAM, LTGRADCAM, OEEM, UMCAM, Bundle


def written(bundle: Bundle, folder: Path, *overlays: str, **changes: Any) -> tuple[dict[str, Any], str]:
    """Content and text of inference.yaml after a training."""
    config = ConfigParser.load_config_files(bundle.files("train.yaml", *overlays)) | changes
    knobs = run_knobs(config, bundle.configs.parent, Path("manifest.json"))
    write_configs(config, bundle.configs.parent, knobs, folder / "configs")
    path = folder / "configs/inference.yaml"
    return ConfigParser.load_config_files([str(path)]), path.read_text()


@pytest.mark.parametrize("bundle", [UMCAM, CFDCAM, LTGRADCAM, OEEM], ids=lambda bundle: bundle.name)
def test_knobs_of_the_preset_become_defaults_and_comments_stay(bundle: Bundle, tmp_path: Path) -> None:
    config, text = written(bundle, tmp_path, "small.yaml")
    trained = ConfigParser.load_config_files(bundle.files("train.yaml", "small.yaml"))
    for name in ("pixel_size", "architecture", "width", "output_stride", "norm", "pretrained"):
        assert config[name] == trained[name]
    shipped = ConfigParser.load_config_file(bundle.configs / "inference.yaml")
    assert {name: config[name] for name in ("network_def", "preprocessing", "run")} == {
        name: shipped[name] for name in ("network_def", "preprocessing", "run")
    }
    assert text.count("#") >= (bundle.configs / "inference.yaml").read_text().count("#") - 2
    names = {path.name for path in (tmp_path / "configs").iterdir()}
    assert names == {"inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml", "logging.conf"}


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_last_stage_is_applied_without_an_overlay(bundle: Bundle, tmp_path: Path) -> None:
    config, _ = written(bundle, tmp_path, "segmenter.yaml", features=[8, 8, 8, 8, 8, 8])
    files = bundle.files("inference.yaml", "segmenter_inference.yaml")
    assert config == ConfigParser.load_config_files(files) | {"features": [8, 8, 8, 8, 8, 8]}


def test_file_from_which_a_training_started_is_not_named(tmp_path: Path) -> None:
    config, text = written(UMCAM, tmp_path, pretrained="/home/someone/vgg16.pth")
    assert config["pretrained"] is True
    assert "someone" not in text


def test_run_with_other_components_is_refused(tmp_path: Path) -> None:
    network = {"_target_": "my.Network"}
    with pytest.raises(DataError, match=r"found another 'network_def' in manifest\.json"):
        written(UMCAM, tmp_path, network_def=network)
