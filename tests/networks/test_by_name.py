from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from camtools.networks import (
    VGG16CAM,
    EfficientNetLite0CAM,
    ResNet18CAM,
    ResNet38,
    cam_classifier,
    expected_intensities,
    usual_norm,
)

CLASSES = {"vgg16": VGG16CAM, "resnet18": ResNet18CAM, "resnet38": ResNet38, "efficientnet_lite0": EfficientNetLite0CAM}
WIDTHS = {"vgg16": 0.0625, "resnet18": 0.125, "resnet38": 0.03125, "efficientnet_lite0": 1.0}


@pytest.mark.parametrize("name", CLASSES)
def test_classifiers_by_name(name: str) -> None:
    options: dict[str, Any] = {"in_channels": 1, "num_classes": 3, "width": WIDTHS[name], "norm": usual_norm(name)}
    network = cam_classifier(name, **options, output_stride=16).eval()
    assert isinstance(network, CLASSES[name])
    assert network.smallest == 16
    images = torch.rand(2, 1, 64, 32)
    assert network(images).shape == (2, 3)
    assert network.embed(images).shape == (2, network.embedding_size)
    unit = cam_classifier(name, **options, output_stride=16, unit_images=True).eval()
    unit.load_state_dict(network.state_dict())
    statistics = expected_intensities(name, in_channels=1)
    scaled = (images - statistics["mean"][0]) / statistics["std"][0]
    torch.testing.assert_close(unit(images), network(scaled), rtol=1e-4, atol=1e-5)


def test_strides_of_the_classes_and_variants_of_vgg16() -> None:
    strides = {name: cam_classifier(name, width=WIDTHS[name]).smallest for name in CLASSES}
    assert strides == {"vgg16": 8, "resnet18": 32, "resnet38": 8, "efficientnet_lite0": 8}
    published = cam_classifier("vgg16", width=0.0625, dilated=False, head="fully_connected", norm=None)
    assert published.fully_connected
    assert len(published.features) == 31
    assert cam_classifier("vgg16", width=0.0625, dilated=False).smallest == 16
    assert cam_classifier("resnet18", width=0.125, dilated=False).smallest == 32


@pytest.mark.parametrize("name", CLASSES)
def test_norm_from_imagenet_weights_fits_the_network(name: str, tmp_path: Path) -> None:
    norm = usual_norm(name, pretrained=True)
    assert norm == {"vgg16": None, "resnet18": "batch"}.get(name, "frozen")
    with pytest.raises(FileNotFoundError):  # nothing else is wrong
        cam_classifier(name, norm=norm, pretrained=tmp_path / "absent.pt", unit_images=True)


def test_intensities_of_the_weights() -> None:
    assert expected_intensities("efficientnet_lite0") == {"mean": [0.5], "std": [0.5]}
    assert expected_intensities("resnet38") == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert expected_intensities("vgg16", in_channels=1) == {"mean": [0.449], "std": [0.226]}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {}, "expected architecture to be one of vgg16, resnet18, resnet38, .*, found 'resnet50'; choose"),
        ("efficientnet_lite0", {"width": 0.5}, "expected width=1 for efficientnet_lite0, found width=0.5; set it to 1"),
        ("resnet18", {"head": "fully_connected"}, "expected head 'average' for resnet18, found 'fully_connected'; set"),
        ("efficientnet_lite0", {"dilated": True}, "expected dilated false for efficientnet_lite0, found true; set out"),
        ("resnet38", {"output_stride": 4}, "expected output_stride 8, 16 or 32, found 4"),
        ("vgg16", {"output_stride": 32}, "expected output_stride 8 or 16, found 32"),
        ("vgg16", {"norm": "frozen"}, "expected norm to be one of batch, instance, found 'frozen'"),
        ("resnet18", {"norm": None}, "expected norm to be one of batch, frozen, group, found None"),
        ("resnet38", {"pretrained": True, "norm": "frozen"}, "expected pretrained to be the path of a res38d"),
    ],
)
def test_errors(name: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cam_classifier(name, **({"width": WIDTHS[name]} if name in WIDTHS else {}) | options)


def test_unknown_names_are_refused_everywhere() -> None:
    for function in (usual_norm, expected_intensities):
        with pytest.raises(ValueError, match="expected architecture to be one of .*, found 'alexnet'; choose one"):
            function("alexnet")  # type: ignore[arg-type]
