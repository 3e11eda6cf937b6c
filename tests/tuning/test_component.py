"""The stage of a bundle."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from camtools.data import Splits, load_datalist
from camtools.tuning import MaskTuning, TunedMasksd, read_choice
from camtools.tuning.component import TuningSettings
from tests.cam_classifiers import preprocessing, save_weights, tiny_network

SETTINGS = {"methods": ["layercam"], "thresholds": [0.4], "refinements": [], "evidence_slices": 0, "resamples": 20}


def component(blob_dataset: Path, folder: Path, weights: str) -> MaskTuning:
    names = ("training", "validation", "test")
    splits = Splits(*(load_datalist(blob_dataset, name) for name in names))
    network = tiny_network()
    torch.nn.init.zeros_(next(network.parameters()))  # the weights come from the file
    return MaskTuning(network, f"{weights}/model.pt", preprocessing(), splits, folder / "tuning", **SETTINGS)


def test_a_stage_writes_a_choice_that_a_later_stage_reads(
    blob_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = component(blob_dataset, tmp_path, save_weights(tmp_path / "c"))
    masks = TunedMasksd(tmp_path / "tuning/choice.json", made.network)
    with caplog.at_level(logging.INFO, logger="camtools"):
        made.run()
    assert "Chosen: layercam" in caplog.text
    choice = read_choice(tmp_path / "tuning/choice.json")
    assert choice.method == "layercam"
    for name, value in tiny_network().state_dict().items():
        torch.testing.assert_close(made.network.state_dict()[name], value)
    item = made.splits.tagged()[0]
    result = masks(made.prepare(item))
    assert result["mask"].shape == result["image"].shape
    assert result["mask"].any()


def test_a_missing_file_of_weights_and_a_wrong_setting_are_named(blob_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none/model.pt"):
        component(blob_dataset, tmp_path, str(tmp_path / "none")).run()
    with pytest.raises(TypeError, match="unexpected keyword argument 'treshold'"):
        TuningSettings(treshold=1)  # type: ignore[call-arg]
