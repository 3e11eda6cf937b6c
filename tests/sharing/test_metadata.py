"""metadata.json with the facts of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from camtools.sharing.metadata import write_metadata
from tests.bundles.conftest import BUNDLES, UMCAM, Bundle
from tests.sharing.test_card import FACTS

VERSIONS = {"camtools": "0.1.0", "monai": "1.6.1", "torch": "2.15.0+cpu", "numpy": "1.26.4"}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_facts_replace_what_the_bundle_says_of_its_phantoms(bundle: Bundle, tmp_path: Path) -> None:
    facts = replace(FACTS, target="cyst", channels=2, versions=VERSIONS)
    source = bundle.configs / "metadata.json"
    written = write_metadata(source, tmp_path / "metadata.json", facts)
    assert json.loads((tmp_path / "metadata.json").read_text()) == written
    shipped = json.loads(source.read_text())
    assert written["name"] == shipped["name"]  # by which its weights know it
    assert written["pytorch_version"] == "2.15.0"
    image = written["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["channel_def"]) == (2, {"0": "channel 0", "1": "channel 1"})
    assert written["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "cyst"
    assert written["task"] == "Weakly supervised segmentation (cyst) from tags of slices"
    assert written["eval_metrics"] == {"test_dice": 0.875, "test_hd95_mm": 2.5}
    assert written["data_source"] == "volumes of the training: 2 training, 1 test; not part of the bundle"


def test_names_of_the_channels(tmp_path: Path) -> None:
    facts = replace(FACTS, channels=2, channel_names=["T1", "FLAIR"], versions=VERSIONS)
    written = write_metadata(UMCAM.configs / "metadata.json", tmp_path / "metadata.json", facts)
    image = written["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["channel_def"]) == (2, {"0": "T1", "1": "FLAIR"})


def test_phantoms_keep_their_name(tmp_path: Path) -> None:
    source = UMCAM.configs / "metadata.json"
    written = write_metadata(source, tmp_path / "metadata.json", replace(FACTS, target=None, versions=VERSIONS))
    shipped = json.loads(source.read_text())
    assert written["task"] == shipped["task"]
    assert written["network_data_format"] == shipped["network_data_format"]
