"""Classifiers to score maps of: tiny, not trained, with the data of a dataset made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.transforms import Compose

from camtools.data import load_datalist
from camtools.engine.cam_config import TrainedClassifier
from camtools.networks import VGG16CAM
from camtools.transforms import InPlaneSpacingd, LoadVolumed, ScaleSlicesd, SliceAxisLastd

TRAIN = str(Path(__file__).parents[1] / "bundles/umcam/configs/train.yaml")
WIDTH = 0.0625


def tiny_network(dilated: bool = True) -> VGG16CAM:
    torch.manual_seed(0)
    network = VGG16CAM(width=WIDTH, norm="batch", dilated=dilated).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training; FullGrad reads the biases
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


def preprocessing(pixel_size: float | None = None) -> Compose:
    steps = [LoadVolumed("image"), SliceAxisLastd("image"), InPlaneSpacingd("image", pixel_size), ScaleSlicesd("image")]
    return Compose(steps)


def tiny_classifier(dataset: Path, pixel_size: float | None = None) -> TrainedClassifier:
    splits = {split: load_datalist(dataset, split) for split in ("validation", "test")}
    return TrainedClassifier(tiny_network(), preprocessing(pixel_size), splits, torch.device("cpu"))


def save_weights(folder: Path, dilated: bool = True) -> str:
    """Weights as a run of a bundle leaves them (dilated for UM-CAM); returns the classifier's folder."""
    folder.mkdir(parents=True)
    torch.save(tiny_network(dilated).state_dict(), folder / "model.pt")
    return str(folder)


def overrides(dataset: Path, classifier_dir: str) -> list[str]:
    """Options after the command: the tiny network on the dataset."""
    ids = {
        "dataset_dir": dataset,
        "classifier_dir": classifier_dir,
        "device": "cpu",
        "pixel_size": "null",
        "width": WIDTH,
    }
    return [part for key, value in ids.items() for part in (f"--{key}", str(value))]
