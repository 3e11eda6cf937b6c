"""One small trained bundle, shared by the tests of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from tests.conftest import write_dataset

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "bundles/umcam/configs"
TINY: dict[str, Any] = {
    "image_size": [32, 32],
    "width": 0.0625,
    "features": [4, 4, 8, 8, 8, 4],
    "classifier_epochs": 2,
    "segmenter_epochs": 2,
    "pixel_size": None,
    "device": "cpu",
}


def train(dataset: Path, folder: Path, *overlays: str, **overrides: Any) -> Path:
    """Run train.yaml with tiny networks; returns the run's folder."""
    files = [str(CONFIGS / name) for name in ("train.yaml", *overlays)]
    places = {"dataset_dir": str(dataset), "output_dir": str(folder / "run"), "export_dir": str(folder / "models")}
    monai.bundle.run(config_file=files, **(TINY | places | overrides))
    return folder / "run"


def infer(data: Path, output: Path, models: Path, *overlays: str, **overrides: Any) -> Path:
    """Run inference.yaml on a folder; returns the folder of the masks."""
    arguments = {
        "dataset_dir": str(data),
        "output_dir": str(output),
        "checkpoint": str(models / "model.pt"),
        "classifier_checkpoint": str(models / "classifier.pt"),
        **{key: TINY[key] for key in ("width", "features", "pixel_size", "device")},
    }
    files = [str(CONFIGS / name) for name in ("inference.yaml", *overlays)]
    monai.bundle.run(config_file=files, **(arguments | overrides))
    return output / "predictions"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), {"training": 3, "validation": 2, "test": 2})


@pytest.fixture(scope="session")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``run/`` and ``models/`` of a tiny UM-CAM + SPL."""
    folder = tmp_path_factory.mktemp("umcam")
    train(dataset, folder)
    return folder
