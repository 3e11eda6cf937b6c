"""The bundles, tiny: how to train and to apply each, and what it leaves."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch

from camtools.engine.locks import LOCK_NAME
from camtools.patches import PatchGrid
from tests.conftest import write_dataset

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bundle:
    """What the shared tests expect of a bundle.

    Attributes:
        name: folder under ``bundles/``.
        tiny: knobs of ``train.yaml`` that make it small.
        network: class of ``network_def``.
        stages: stages of a run, in order.
        models: exported weights.
        pseudo_labels: kinds of file under ``pseudo_labels/``.
        patches: side and stride of the patches whose tags it learns from; None where it learns from those of slices.
    """

    name: str
    tiny: dict[str, Any]
    network: str
    stages: tuple[str, ...]
    models: tuple[str, ...]
    pseudo_labels: tuple[str, ...]
    patches: PatchGrid | None = None

    @property
    def configs(self) -> Path:
        return REPOSITORY / "bundles" / self.name / "configs"

    @property
    def short(self) -> dict[str, int]:
        """One epoch of every training."""
        return {key: 1 for key in self.tiny if key.endswith("_epochs")}

    def files(self, *names: str) -> list[str]:
        return [str(self.configs / name) for name in names]


# MONAI passes over an override that is None, so a knob is set to null by an expression
COMMON = {"image_size": [32, 32], "width": 0.0625, "classifier_epochs": 2, "pixel_size": "$None", "device": "cpu"}
UMCAM = Bundle(
    name="umcam",
    tiny=COMMON | {"features": [4, 4, 8, 8, 8, 4], "segmenter_epochs": 2},
    network="monai.networks.nets.BasicUNet",
    stages=("check", "classify", "pseudo_label", "segment", "predict", "evaluate"),
    models=("classifier.pt", "model.pt"),
    pseudo_labels=("cam", "spl"),
)
LTGRADCAM = Bundle(
    name="ltgradcam",
    tiny=COMMON,
    network="camtools.networks.CAMSegmenter",
    stages=("check", "classify", "pseudo_label", "predict", "evaluate"),
    models=("model.pt",),
    pseudo_labels=("cam", "mask"),
)
CFDCAM = Bundle(
    name="cfdcam",
    tiny=COMMON | {"pretrain_epochs": 2, "scales": [1.0, 1.5]},
    network="camtools.networks.CAMSegmenter",
    stages=("check", "pretrain", "classify", "pseudo_label", "predict", "evaluate"),
    models=("model.pt",),
    pseudo_labels=("cam", "mask"),
)
OEEM = Bundle(
    name="oeem",
    tiny={
        "in_channels": 1,
        "patch_size": 16,
        "patch_stride": 8,
        "input_size": 32,
        "architecture": "resnet38",
        "width": 0.02,
        "output_stride": 8,
        "norm": "group",
        "pretrained": False,
        "scales": [1.0, 1.5],
        "crop_size": [32, 32],
        "crops_per_slice": 1,
        "test_scales": [1.0],
        "classifier_epochs": 2,
        "segmenter_epochs": 2,
        "pixel_size": "$None",
        "device": "cpu",
    },
    network="camtools.networks.PSPNet",
    stages=("check", "classify", "pseudo_label", "segment", "predict", "evaluate"),
    models=("classifier.pt", "model.pt"),
    pseudo_labels=("cam", "mask"),
    patches=PatchGrid(16, 8),
)
AUTO = Bundle(
    name="auto",
    tiny={
        "image_size": [32, 32],
        "in_channels": 1,
        "pixel_size": "$None",
        "pretrained": False,
        "decoder_channels": [16, 16, 16, 16, 16],
        "classifier_epochs": 2,
        "segmenter_epochs": 2,
        "device": "cpu",
    },
    network="camtools.networks.Ensemble",
    stages=("check", "classify", "tune", "pseudo_label", "segment", "self_train", "finish", "predict", "evaluate"),
    models=("choice.json", "classifier.pt", "finish.json", "model.pt"),
    pseudo_labels=("cam", "mask"),
)
BUNDLES = (UMCAM, CFDCAM, LTGRADCAM, OEEM, AUTO)


def train(bundle: Bundle, dataset: Path, folder: Path, *overlays: str, **overrides: Any) -> Path:
    """Run train.yaml with tiny networks; returns the run's folder."""
    places = {"dataset_dir": str(dataset), "output_dir": str(folder / "run"), "export_dir": str(folder / "models")}
    monai.bundle.run(config_file=bundle.files("train.yaml", *overlays), **(bundle.tiny | places | overrides))
    return folder / "run"


def inference_knobs(bundle: Bundle, models: Path) -> dict[str, Any]:
    """Those tiny knobs that inference.yaml has, with the weights in a folder."""
    known = monai.bundle.ConfigParser.load_config_file(bundle.configs / "inference.yaml")
    weights = {"checkpoint": str(models / "model.pt"), "classifier_checkpoint": str(models / "classifier.pt")}
    weights |= {"mask_choice": str(models / "choice.json"), "finish_choice": str(models / "finish.json")}
    return {key: value for key, value in (bundle.tiny | weights).items() if key in known}


def infer(bundle: Bundle, data: Path, output: Path, models: Path, *overlays: str, **overrides: Any) -> Path:
    """Run inference.yaml on a folder; returns the folder of the masks."""
    places = {"dataset_dir": str(data), "output_dir": str(output)}
    settings = inference_knobs(bundle, models) | places | overrides
    monai.bundle.run(config_file=bundle.files("inference.yaml", *overlays), **settings)
    return output / "predictions"


def without_settings(models: Path, folder: Path) -> Path:
    """The weights in a folder without the settings of their training, for tests that give others on purpose."""
    shutil.copytree(models, folder, ignore=shutil.ignore_patterns(LOCK_NAME))
    for path in folder.glob("*.pt"):
        torch.save(dict(torch.load(path, weights_only=True)), path)
    return folder


def command(bundle: Bundle, *arguments: str) -> list[str]:
    """Command line with the tiny knobs at its end."""
    return [*arguments, *(part for key, value in bundle.tiny.items() for part in (f"--{key}", str(value)))]


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Fill a folder unless another worker has; a worker that comes while it is filled waits."""
    done = folder.with_suffix(".done")
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not done.exists():
                make(folder)
                done.touch()
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough while a forked process has the file open
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of this call of pytest, the same for all its workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundles"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def dataset(shared_folder: Path) -> Path:
    counts = {"training": 3, "validation": 2, "test": 2}
    return make_once(shared_folder / "data", lambda folder: write_dataset(folder, counts))


@pytest.fixture(scope="session")
def train_once(dataset: Path, shared_folder: Path) -> Callable[[Bundle], Path]:
    """Trains each bundle when it is first asked for, once for all workers."""
    return lambda bundle: make_once(shared_folder / bundle.name, lambda folder: train(bundle, dataset, folder))


@pytest.fixture(params=BUNDLES, ids=lambda bundle: bundle.name)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """Every bundle in turn; the tests of one bundle override it."""
    return request.param


@pytest.fixture
def trained(bundle: Bundle, train_once: Callable[[Bundle], Path]) -> Path:
    """Folder with ``run/`` and ``models/`` of a tiny bundle, shared by all workers: tests leave it as it is."""
    return train_once(bundle)


@pytest.fixture
def own_trained(trained: Path, tmp_path: Path) -> Path:
    """Copy of ``trained`` that a test may change."""
    return shutil.copytree(trained, tmp_path / "trained", ignore=shutil.ignore_patterns(LOCK_NAME))
