"""The bundle that every training writes: it works from any folder, without a knob, and is complete or absent."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from camtools.data import load_datalist
from camtools.label import prepare_app, trained_bundles
from camtools.networks.weight_settings import read_settings
from tests.bundles.conftest import AUTO, CFDCAM, LTGRADCAM, OEEM, UMCAM, Bundle, train
from tests.bundles.test_metadata_schema import SCHEMA
from tests.bundles.test_model_zoo import SECTIONS

FILES = (
    "LICENSE",
    "configs/evaluate.yaml",
    "configs/inference.yaml",
    "configs/logging.conf",
    "configs/metadata.json",
    "configs/multi_gpu_train.yaml",
    "configs/train.yaml",
    "docs/README.md",
    "docs/data_license.txt",
)


@pytest.fixture
def own(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of a training in another folder, from which a user runs."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained / "run/bundle", tmp_path / "mailed")


def apply(own: Path, data: Path, output: Path, *overlays: str, **knobs: Any) -> Path:
    files = [str(own / "configs" / name) for name in ("inference.yaml", *overlays)]
    monai.bundle.run(config_file=files, dataset_dir=str(data), output_dir=str(output), device="cpu", **knobs)
    return output


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: nib.load(path).get_fdata() for path in folder.rglob("*.nii.gz")}


def test_bundle_is_complete_and_names_no_place_and_no_case(bundle: Bundle, trained: Path, dataset: Path) -> None:
    own = trained / "run/bundle"
    files = sorted(path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file())
    assert files == sorted([*FILES, *(f"models/{name}" for name in bundle.models)])
    text = "\n".join((own / name).read_text() for name in FILES)
    text += str([read_settings(path) for path in (own / "models").glob("*.pt")])
    assert not [word for word in (str(trained), str(dataset), str(Path.home()), "case_") if word in text]
    assert not list((trained / "run").glob(".bundle*"))


def test_configuration_is_the_shipped_one_with_the_knobs_of_the_run(bundle: Bundle, trained: Path) -> None:
    shipped = (bundle.configs / "inference.yaml").read_text().splitlines()
    own = (trained / "run/bundle/configs/inference.yaml").read_text().splitlines()
    assert len(own) == len(shipped)
    differing = [new.partition(":")[0] for new, old in zip(own, shipped, strict=True) if new != old]
    assert set(differing) <= set(bundle.tiny) | {"norm"}
    known = ConfigParser.load_config_file(trained / "run/bundle/configs/inference.yaml")
    assert {name: known[name] for name in bundle.tiny if name in known and name != "device"} == {
        name: bundle.tiny[name] for name in bundle.tiny if name in known and name != "device"
    }


def test_it_segments_as_the_training_did_without_a_knob(
    bundle: Bundle, own: Path, trained: Path, dataset: Path, tmp_path: Path
) -> None:
    apply(own, dataset, tmp_path / "out", "evaluate.yaml", run=["@predict", "@evaluate", "@maps"])
    found, expected = masks(tmp_path / "out/predictions"), masks(trained / "run/predictions")
    assert len(found) == len(load_datalist(dataset, "test"))
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])
    assert (tmp_path / "out/metrics.csv").is_file()
    assert len(masks(tmp_path / "out/maps")) == len(found)


def test_monai_verifies_it(own: Path, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"config_file": str(own / "configs/inference.yaml"), "meta_file": str(own / "configs/metadata.json")}
    with caplog.at_level(logging.INFO):
        monai.bundle.verify_metadata(meta_file=files["meta_file"], filepath=str(SCHEMA))
        monai.bundle.verify_net_in_out("network_def", device="cpu", bundle_root=str(own), **files)
    assert "metadata is verified with no error" in caplog.text
    assert "data shape of network is verified with no error" in caplog.text
    places = {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "out")}
    workflow = ConfigWorkflow(**files, workflow_type="infer", logging_file=False, **places)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_metadata_and_card_say_what_was_measured(bundle: Bundle, trained: Path) -> None:
    metadata = json.loads((trained / "run/bundle/configs/metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "blob"}
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 1
    assert 0 <= metadata["eval_metrics"]["test_dice"] <= 1
    card = (trained / "run/bundle/docs/README.md").read_text()
    assert [name for name in SECTIONS if f"\n## {name}\n" not in card] == []
    unit = "slices" if bundle is not OEEM else "patches"
    assert f"| split | volumes | tagged {unit} | with the object |" in card
    assert "| training | 3 |" in card
    assert "derived from masks for 3 of 3 training volumes" in card
    assert "| test | 2 | " in card
    assert "pixels of 1 mm, slices 5 mm apart" in card
    assert f"| camtools | {metadata['required_packages_version']['camtools']} |" in card
    assert metadata["intended_use"] in card


@pytest.mark.parametrize("bundle", [UMCAM, OEEM, AUTO], ids=lambda bundle: bundle.name)
def test_export_takes_it(bundle: Bundle, own: Path, tmp_path: Path) -> None:
    files = {"config_file": str(own / "configs/inference.yaml"), "bundle_root": str(own)}
    monai.bundle.ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), **files)
    exported = torch.jit.load(tmp_path / "model.ts").state_dict()
    weights = torch.load(own / "models/model.pt", weights_only=True)
    assert all(torch.equal(exported[name], value) for name, value in weights.items())


@pytest.mark.parametrize("bundle", [UMCAM], ids=["umcam"])
def test_export_with_the_knobs_of_the_shipped_bundle_is_refused(bundle: Bundle, own: Path, tmp_path: Path) -> None:
    files = {"config_file": bundle.files("inference.yaml")[0], "bundle_root": str(bundle.configs.parent)}
    weights = str(own / "models/model.pt")
    with pytest.raises(RuntimeError, match="size mismatch for"):
        monai.bundle.ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=weights, **files)


def test_label_server_takes_it(own: Path, tmp_path: Path) -> None:
    assert trained_bundles(own.parent, ["mailed"]) == [own]
    app = prepare_app([own], tmp_path / "app")
    assert read_settings(app / "model/mailed/models/model.pt") == read_settings(own / "models/model.pt")


@pytest.mark.parametrize("bundle", [UMCAM], ids=["umcam"])
def test_changed_training_keeps_the_earlier_bundle(bundle: Bundle, own_trained: Path, dataset: Path) -> None:
    run = own_trained / "run"
    before = (run / "bundle/models/model.pt").stat().st_mtime_ns
    (run / ".bundle.new").mkdir()
    (run / ".bundle.new/half").touch()  # of a killed run
    (run / "bundle/docs/data_license.txt").write_text("CC BY 4.0")
    train(bundle, dataset, own_trained)
    assert (run / "bundle/models/model.pt").stat().st_mtime_ns == before
    assert (run / "bundle/docs/data_license.txt").read_text() == "CC BY 4.0"
    assert not (run / ".bundle.new").exists()
    train(bundle, dataset, own_trained, run=["@bundle"], output_stride=16)  # of the maps
    assert (run / "bundle.old-1/models/model.pt").stat().st_mtime_ns == before
    assert "output_stride: 16 #" in (run / "bundle/configs/inference.yaml").read_text()
    assert "| `output_stride` | `16` |" in (run / "bundle/docs/README.md").read_text()


@pytest.mark.parametrize("bundle", [LTGRADCAM, CFDCAM], ids=["ltgradcam", "cfdcam"])
def test_run_that_inference_has_no_knob_for_gets_none(
    bundle: Bundle, own_trained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(own_trained / "run/bundle")
    train(bundle, dataset, own_trained, **{"run": ["@bundle"], "network_def#gate": "$True"})
    assert "bundle: not written. Expected a run that differs" in capsys.readouterr().out
    assert not (own_trained / "run/bundle").exists()
