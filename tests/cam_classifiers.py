"""Classifiers to score maps of: tiny, not trained, with the data of a dataset made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from monai.transforms import Compose

from camtools.crf import DenseCRF
from camtools.data import load_datalist
from camtools.networks import VGG16CAM, ResNet18CAM
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.map_methods import CAM_METHODS
from camtools.transforms import InPlaneSpacingd, LoadVolumed, ScaleSlicesd, SliceAxisLastd

TRAIN = str(Path(__file__).parents[1] / "bundles/umcam/configs/train.yaml")
CFD_TRAIN = TRAIN.replace("umcam", "cfdcam")
WIDTH = 0.0625
ONE_LOGIT_WIDTH = 0.125


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


def one_logit_network() -> ResNet18CAM:
    """Not trained; small enough that Cfd-CAM takes no time, and sure of the object, so that its maps are not faint."""
    torch.manual_seed(0)
    network = ResNet18CAM(width=ONE_LOGIT_WIDTH).eval()
    torch.nn.init.constant_(network.fc.bias, 3.0)
    return network


def one_logit_classifier(dataset: Path) -> TrainedClassifier:
    """With a dense CRF that works without pydensecrf."""
    return replace(tiny_classifier(dataset), network=one_logit_network(), crf=DenseCRF(backend="torch"))


def fake_method(monkeypatch: pytest.MonkeyPatch, name: str, maps: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """A method whose maps are known: a function of the images."""
    monkeypatch.setitem(CAM_METHODS, name, lambda classifier, batch_size: lambda images, target: maps(images))
    return name


def save_weights(folder: Path, dilated: bool = True, one_logit: bool = False) -> str:
    """Weights as a run of a bundle leaves them (dilated: UM-CAM, one logit: Cfd-CAM); returns their folder."""
    folder.mkdir(parents=True)
    network = one_logit_network() if one_logit else tiny_network(dilated)
    torch.save(network.state_dict(), folder / "model.pt")
    return str(folder)


def overrides(dataset: Path, classifier_dir: str, width: float = WIDTH) -> list[str]:
    """Options after the command: the tiny network on the dataset."""
    ids = {
        "dataset_dir": dataset,
        "classifier_dir": classifier_dir,
        "device": "cpu",
        "pixel_size": "null",
        "width": width,
    }
    return [part for key, value in ids.items() for part in (f"--{key}", str(value))]
