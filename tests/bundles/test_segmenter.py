"""The optional last stage of bundles that end in maps, and the overlays of the page how_to_segmenter.md."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import BasicUNet

from camtools.engine import NetworkTrainer
from camtools.engine.locks import LOCK_NAME
from tests.bundles.conftest import (
    CFDCAM,
    LTGRADCAM,
    OEEM,
    REPOSITORY,
    UMCAM,
    Bundle,
    infer,
    inference_knobs,
    train,
)

PAGE = REPOSITORY / "docs/how_to_segmenter.md"

FEATURES = [4, 4, 8, 8, 8, 4]
TINY = {"features": FEATURES, "segmenter_epochs": 2, "classifier_epochs": 1}


def without_stages(bundle: Bundle, name: str) -> str:
    """Text of a file without its entry ``run``, which names the stages."""
    text = Path(bundle.files(name)[0]).read_text()
    return re.sub(r"^run: \[.*?\]\n", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["segmenter.yaml", "segmenter_inference.yaml"])
def test_copies_are_equal(name: str) -> None:
    """Bundles share no file, since each is copied alone: what belongs to both is the same text in both."""
    first = without_stages(CFDCAM, name)
    assert "network_def: {_target_: BasicUNet" in first
    assert without_stages(LTGRADCAM, name) == first


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_last_stage(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    knobs = bundle.short | TINY | {"rounds": 1}
    run = train(bundle, dataset, tmp_path, *bundle.files("segmenter.yaml"), **knobs)
    assert (run / "report.html").is_file()
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    before = [name for name in bundle.stages if name not in ("predict", "evaluate")]
    assert list(stages) == [*before, "segment", "self_train", "predict", "evaluate"]
    rows = json.loads((run / "self_training/history.json").read_text())
    assert [sorted(row) for row in rows] == [["dice", "round"]] * 2

    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=FEATURES)
    weights = torch.load(tmp_path / "models/model.pt", weights_only=True)
    network.load_state_dict(weights)
    best = max(rows, key=lambda row: row["dice"])["round"]
    chosen = run / ("segmenter" if best == 0 else f"self_training/round-{best}") / "model.pt"
    for key, value in torch.load(chosen, weights_only=True).items():
        assert torch.equal(value, weights[key])

    overlay = bundle.files("segmenter_inference.yaml")
    found = infer(bundle, dataset, tmp_path / "out", tmp_path / "models", *overlay, features=FEATURES)
    own = str(run / "bundle/configs/inference.yaml")  # needs no overlay and no knob
    monai.bundle.run(config_file=own, dataset_dir=str(dataset), output_dir=str(tmp_path / "own"), device="cpu")
    applied = sorted(found.rglob("*.nii.gz"))
    assert len(applied) == 2
    for path in applied:
        (scored,) = (run / "predictions").rglob(path.name)
        (by_own,) = (tmp_path / "own/predictions").rglob(path.name)
        for other in (path, by_own):
            np.testing.assert_array_equal(nib.load(other).get_fdata(), nib.load(scored).get_fdata())


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_maps_and_export_of_the_last_stage(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    steps = [f"@{name}" for name in bundle.stages if name in ("check", "pretrain", "classify")]
    train(bundle, dataset, tmp_path, *bundle.files("segmenter.yaml"), **(bundle.short | TINY | {"run": steps}))
    classifier = {"classifier_checkpoint": str(tmp_path / "models/classifier.pt")}
    overlay = bundle.files("segmenter_inference.yaml")
    infer(bundle, dataset, tmp_path / "out", tmp_path / "models", *overlay, run=["@maps"], **classifier)
    assert len(list((tmp_path / "out/maps").rglob("*_cam.nii.gz"))) == 2

    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=FEATURES)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    settings = {key: value for key, value in inference_knobs(bundle, tmp_path).items() if "checkpoint" not in key}
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=bundle.files("metadata.json")[0],
        config_file=bundle.files("inference.yaml", "segmenter_inference.yaml"),
        **(settings | {"features": FEATURES, "bundle_root": str(bundle.configs.parent)}),
    )
    images = torch.rand(2, 1, 32, 48)
    exported = torch.jit.load(tmp_path / "model.ts")
    torch.testing.assert_close(exported.eval()(images), network.eval()(images))


def overlay(folder: Path, name: str, bundle: Bundle) -> str:
    """File with a block of the page."""
    blocks = re.findall(r"^```yaml\n(# .*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (text,) = [block for block in blocks if re.match(rf"# {name} for [^:\n]*\b{bundle.name}\b", block)]
    (folder / name).write_text(text)
    return str(folder / name)


def copied_run(trained: Path, folder: Path) -> Path:
    return shutil.copytree(trained / "run", folder / "run", ignore=shutil.ignore_patterns(LOCK_NAME))


def trainer_of(bundle: Bundle, run: Path, dataset: Path, trainer: str, *files: str, **knobs: Any) -> NetworkTrainer:
    """A trainer with its own folder, and the pseudo-labels of a run."""
    parser = ConfigParser()
    parser.read_config(bundle.files("train.yaml") + list(files))
    places = {"dataset_dir": str(dataset), "output_dir": str(run), "export_dir": str(run / "models")}
    parser.update({"bundle_root": str(run)} | bundle.tiny | places | knobs)
    built: NetworkTrainer = parser.get_parsed_content(trainer)
    return built


@pytest.mark.parametrize("bundle", [UMCAM, OEEM], ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("name", ["dice.yaml", "random_views.yaml"])
def test_losses_of_the_page(
    bundle: Bundle, name: str, train_once: Callable[[Bundle], Path], dataset: Path, tmp_path: Path
) -> None:
    run = copied_run(train_once(bundle), tmp_path)
    shutil.rmtree(run / "segmenter")
    losses = {}
    for files in ([], [overlay(tmp_path, name, bundle)]):
        trainer = trainer_of(bundle, run, dataset, "train#trainer", *files, segmenter_epochs=1)
        torch.manual_seed(0)
        trainer.run()
        losses[len(files)] = trainer.history[0]["loss"]
        shutil.rmtree(run / "segmenter")
    assert losses[0] != losses[1]
    views = type(trainer.inferer).__name__ == "RandomViewInferer"
    assert views == (name == "random_views.yaml")


@pytest.mark.parametrize("bundle", [CFDCAM, LTGRADCAM], ids=lambda bundle: bundle.name)
def test_random_views_of_the_last_stage(
    bundle: Bundle, train_once: Callable[[Bundle], Path], dataset: Path, tmp_path: Path
) -> None:
    run = copied_run(train_once(bundle), tmp_path)
    files = [*bundle.files("segmenter.yaml"), overlay(tmp_path, "random_views.yaml", bundle)]
    trainer = trainer_of(bundle, run, dataset, "segmenter#trainer", *files, segmenter_epochs=1, features=FEATURES)
    trainer.run()
    assert type(trainer.inferer).__name__ == "RandomViewInferer"
    assert len(trainer.history) == 1


@pytest.mark.parametrize("bundle", [UMCAM, OEEM], ids=lambda bundle: bundle.name)
def test_rounds_of_the_page(
    bundle: Bundle, train_once: Callable[[Bundle], Path], dataset: Path, tmp_path: Path
) -> None:
    run = copied_run(train_once(bundle), tmp_path)
    before = (run / "segmenter/model.pt").stat().st_mtime_ns
    file = overlay(tmp_path, "self_training.yaml", bundle)
    train(bundle, dataset, tmp_path, file, rounds=1, round_epochs=1)
    assert (run / "segmenter/model.pt").stat().st_mtime_ns == before
    rows = json.loads((run / "self_training/history.json").read_text())
    assert [row["round"] for row in rows] == [0, 1]
    files = [run / "self_training/model.pt", tmp_path / "models/model.pt", run / "bundle/models/model.pt"]
    weights = [torch.load(path, weights_only=True) for path in files]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])
        assert torch.equal(value, weights[2][key])
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    assert stages["self_train"]["status"] == stages["evaluate"]["status"] == "done"
