"""MONAI Label's tasks on the bundles (camtools.label.app, camtools.label.infer, camtools.label.train)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from camtools.data import read_volume
from tests.bundles.conftest import UMCAM, Bundle
from tests.bundles.label_server import copy_bundle, make_bright
from tests.conftest import blob_volume, oblique_affine, write_volume
from tests.itk_volumes import write_itk

pytest.importorskip("monailabel.tasks.train.bundle", reason="needs the extra 'label'")


@pytest.fixture
def copied(bundle: Bundle, trained: Path, tmp_path: Path) -> Path:
    return copy_bundle(bundle, trained / "models", tmp_path / bundle.name)


def training_config(bundle: Path, tmp_path: Path, **overrides: Any) -> ConfigParser:
    """train.yaml under the ids that MONAI Label overrides."""
    image, label = blob_volume(1)
    item = {
        "image": write_volume(tmp_path / "image.nii.gz", image),
        "label": write_volume(tmp_path / "label.nii.gz", label),
    }
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.yaml"))
    settings = {
        "bundle_root": str(bundle),
        "train#trainer#max_epochs": 7,
        "train#dataset#data": [item],
        "device": "cpu",
    }
    for key, value in (settings | {"validate#dataset#data": [], "splits#test": []} | overrides).items():
        parser[key] = value
    return parser


def test_stock_inference_task_gives_the_same_mask(copied: Path, tmp_path: Path) -> None:
    from monailabel.tasks.infer.bundle import BundleInferTask

    from camtools.label.infer import BundleInference

    image = write_volume(tmp_path / "a.nii.gz", blob_volume(3)[0])
    masks = []
    for task in (BundleInferTask(str(copied), {}), BundleInference(str(copied), {})):
        path, _ = task({"image": image, "device": "cpu"})
        masks.append(nib.load(path))
        np.testing.assert_allclose(masks[-1].affine, nib.load(image).affine, atol=1e-5)
    np.testing.assert_array_equal(masks[0].dataobj, masks[1].dataobj)


def test_nrrd_comes_back_as_nrrd(copied: Path, tmp_path: Path) -> None:
    from camtools.label.infer import BundleInference

    make_bright(copied)
    volume, affine = np.zeros((20, 24, 5), np.int16), oblique_affine(flips=(1, -1, 1))
    volume[2:9, 3:6, 1] = volume[2:5, 3:18, 3] = 1000
    image = write_itk(tmp_path / "a.nrrd", volume, affine)
    task = BundleInference(str(copied), {})
    for request, suffix in (({}, ".nrrd"), ({"result_extension": ".nii.gz"}, ".nii.gz")):
        path, _ = task({"image": image, "device": "cpu"} | request)
        assert path.endswith(suffix)
        mask = read_volume(path)
        np.testing.assert_array_equal(mask[0], volume > 0)
        np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(trained_umcam: Path, tmp_path: Path) -> None:
    from camtools.label.infer import BundleInference

    copied = copy_bundle(UMCAM, trained_umcam / "models", tmp_path / "umcam")
    torch.save({"other": torch.zeros(1)}, copied / "models/model.pt")
    image = write_volume(tmp_path / "a.nii.gz", blob_volume(3)[0])
    with pytest.raises(RuntimeError, match="Missing key"):
        BundleInference(str(copied), {})({"image": image, "device": "cpu"})


@pytest.fixture
def trained_umcam(train_once: Any) -> Path:
    return train_once(UMCAM)


def test_stock_training_task_loads_the_present_weights(copied: Path, tmp_path: Path) -> None:
    """The handler that MONAI Label adds finds the id ``network`` and the trainer runs it."""
    from monailabel.tasks.train.bundle import BundleTrainTask

    handlers: list[Any] = []
    BundleTrainTask(str(copied), {})._load_checkpoint(str(copied / "models/model.pt"), True, handlers)
    parser = training_config(copied, tmp_path, **{"train#handlers": handlers, "output_dir": str(tmp_path / "run")})
    handler = parser.get_parsed_content("train#handlers")[0]
    network = parser.get_parsed_content("network")
    expected = torch.load(copied / "models/model.pt", weights_only=True)
    trainer = parser.get_parsed_content("train#trainer")
    assert trainer.state.max_epochs == 7
    handler(trainer)
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_initial_weights_are_read_before_the_first_epoch(copied: Path, tmp_path: Path) -> None:
    weights = {
        key: torch.full_like(value, 0.25)
        for key, value in torch.load(copied / "models/model.pt", weights_only=True).items()
    }
    torch.save(weights, tmp_path / "start.pt")
    knobs = {"initial_weights": str(tmp_path / "start.pt"), "output_dir": str(tmp_path / "run")}
    knobs["pretrain_dir"] = str(tmp_path / "none")
    knobs["cache_dir"] = "$None"  # so that no pseudo-label is read before the first epoch
    trainer = training_config(copied, tmp_path, **knobs).get_parsed_content("train#trainer")
    trainer.fire_event(Events.STARTED)
    assert all(torch.equal(value, weights[key]) for key, value in trainer.bare_network.state_dict().items())


def test_learning_rate_falls_to_the_end_of_the_epochs_asked_for(copied: Path, tmp_path: Path) -> None:
    knobs = {"train#trainer#max_epochs": 40, "output_dir": str(tmp_path / "run")}
    parser = training_config(copied, tmp_path, **knobs)
    trainer = parser.get_parsed_content("train#trainer")
    schedule = trainer.lr_scheduler
    iterations = getattr(schedule, "total_iters", None) or getattr(schedule, "total_steps", 0)
    steps = getattr(schedule, "T_max", None) or iterations // len(trainer.data_loader)
    assert steps == 40
