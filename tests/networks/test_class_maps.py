"""What all classifiers of the package can do: scores of every position."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from camtools.cams import CAM
from camtools.networks import VGG16CAM
from tests.cam_networks import CLASSIFIERS, classifier

STRIDES = {"resnet18": 32, "vgg16_not_dilated": 16}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_are_the_average_of_the_class_maps(name: str) -> None:
    model = classifier(name)
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        maps, logits = model.class_maps(images), model(images)
        single = torch.cat([model.class_maps(image[None]) for image in images])
    stride = STRIDES.get(name, 8)
    assert maps.shape == (2, 3, 96 // stride, 64 // stride)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, maps, rtol=1e-4, atol=1e-5)
    assert maps.std(dim=(2, 3)).min() > 1e-4


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_class_maps_are_the_activation_maps_before_the_relu(name: str) -> None:
    model = classifier(name)
    images = torch.rand(2, 3, 96, 64)
    head = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)][-1]
    for target in range(3):
        with torch.no_grad():
            scores = model.class_maps(images)[:, target : target + 1]
        bias = 0.0 if head.bias is None else head.bias[target].detach()
        expected = F.interpolate((scores - bias).relu(), size=(96, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(CAM(model, model.cam_layers[-1:])(images, target), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_class_maps_check_their_images(name: str) -> None:
    model = classifier(name)
    smallest = {"resnet18": 32, "vgg16_not_dilated": 16}.get(name, 8)
    assert model.smallest == smallest
    assert model.class_maps(torch.rand(1, 3, smallest, smallest)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match=rf"expected images \(B, C, H, W\) with H and W at least {smallest}, found"):
        model.class_maps(torch.rand(1, 3, smallest, smallest - 1))


@pytest.mark.parametrize("dilated", [True, False])
def test_a_fully_connected_head_has_no_class_maps(dilated: bool) -> None:
    model = VGG16CAM(width=0.0625, dilated=dilated, head="fully_connected")
    with pytest.raises(
        ValueError, match=r"expected head='average' for class_maps, found .* use camtools.cams.GradCAM, or train"
    ):
        model.class_maps(torch.rand(1, 1, 32, 32))
