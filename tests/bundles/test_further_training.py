"""A training that goes on from the bundle that another one wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser

from camtools.data.errors import reason
from tests.bundles.conftest import CFDCAM, OEEM, UMCAM, Bundle
from tests.conftest import write_dataset


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """The bundle of a training in another folder."""
    return shutil.copytree(trained / "run/bundle", tmp_path / "mailed")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def go_on(own: Path, data: Path, output: Path, **knobs: Any) -> None:
    places = {"dataset_dir": str(data), "output_dir": str(output), "device": "cpu"}
    monai.bundle.run(config_file=str(own / "configs/train.yaml"), **places, **knobs)


def test_training_goes_on_from_the_bundle(bundle: Bundle, own: Path, tmp_path: Path) -> None:
    before = contents(own)
    data = write_dataset(tmp_path / "data", {"training": 3, "validation": 1, "test": 1})
    go_on(own, data, tmp_path / "run", **bundle.short)
    assert contents(own) == before
    assert (tmp_path / "run/report.html").is_file()
    assert not (tmp_path / "run/pretraining").exists()  # of cfdcam, whose classifier starts from the bundle's
    again = tmp_path / "run/bundle"
    assert set(contents(again)) == set(before)
    first, second = (ConfigParser.load_config_file(path / "configs/train.yaml") for path in (own, again))
    assert second == first | bundle.short
    assert second["dataset_dir"] is None
    weights = [torch.load(path / "models/model.pt", weights_only=True) for path in (own, again)]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("bundle", [UMCAM], ids=["umcam"])
def test_segmenter_starts_from_the_weights_of_the_bundle(
    bundle: Bundle, own: Path, dataset: Path, tmp_path: Path
) -> None:
    """At a learning rate of 0 it stays as it was, but for the statistics of its norms."""
    steps = ["@check", "@classify", "@pseudo_label", "@segment"]
    go_on(own, dataset, tmp_path / "run", run=steps, **{"train#optimizer#lr": 0.0}, **bundle.short)
    expected = torch.load(own / "models/model.pt", weights_only=True)
    found = torch.load(tmp_path / "run/segmenter/model.pt", weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in found.items() if "running" not in name)


@pytest.mark.parametrize("bundle", [UMCAM], ids=["umcam"])
def test_folder_has_to_be_given(bundle: Bundle, own: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failure:
        monai.bundle.run(config_file=str(own / "configs/train.yaml"), output_dir=str(tmp_path / "run"))
    assert reason(failure.value).startswith(
        "Expected a folder with dataset.json, found none. Give it with --dataset_dir"
    )


@pytest.mark.parametrize("bundle", [UMCAM, CFDCAM, OEEM], ids=lambda bundle: bundle.name)
def test_monai_label_trains_it(bundle: Bundle, own: Path, dataset: Path) -> None:
    pytest.importorskip("monailabel.tasks.train.bundle", reason="needs the extra 'label'")
    from camtools.label.train import BundleTraining

    items = json.loads((dataset / "dataset.json").read_text())["training"]

    class Store:
        def datalist(self) -> list[dict[str, str]]:
            return [{key: str(dataset / name) for key, name in item.items()} for item in items]

    before = contents(own)
    request = {"device": "cpu", "max_epochs": 1, "classifier_epochs": 1, "val_split": 0.0}
    BundleTraining(str(own), {})(request, Store())
    after = contents(own)
    assert {name for name in before if after[name] != before[name]} == {f"models/{name}" for name in bundle.models}
    text = (own / "output/bundle/configs/train.yaml").read_text()
    assert str(dataset) not in text
    assert not (own / "output/models").exists()
