from __future__ import annotations

import pytest
import torch

from camtools.networks import EfficientNetLite0CAM, ResNet38, cam_classifier


def test_classifiers_by_name() -> None:
    network = cam_classifier("resnet38", in_channels=1, num_classes=3, width=0.03125, norm="group")
    assert isinstance(network, ResNet38)
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 3)
    small = cam_classifier("efficientnet_lite0", in_channels=1, num_classes=3, output_stride=16)
    assert isinstance(small, EfficientNetLite0CAM)
    assert small.eval().class_maps(torch.rand(1, 1, 64, 32)).shape == (1, 3, 4, 2)
    assert cam_classifier("resnet38", width=0.03125, output_stride=16).smallest == 16


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {}, "expected name resnet38 or efficientnet_lite0, found 'resnet50'"),
        ("efficientnet_lite0", {"width": 0.5}, "expected width=1 for efficientnet_lite0, found width=0.5; set it to 1"),
        (
            "resnet38",
            {"unit_images": True},
            "expected unit_images=False for resnet38, found unit_images=True; set it to",
        ),
        ("resnet38", {"output_stride": 4}, "expected output_stride 8, 16 or 32, found 4"),
    ],
)
def test_errors(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cam_classifier(name, **options)
