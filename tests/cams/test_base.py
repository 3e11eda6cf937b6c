from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from camtools.cams import CAM, GradCAM
from tests.cam_models import CAM_CLASSES, LAYERS, Classifier
from tests.reference.cams import activation_and_gradient


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_samples_do_not_mix(cam_class, model, images):
    targets = torch.tensor([0, 1, 2, 1])
    cam = cam_class(model, ["features.5"])
    single = torch.cat([cam(image[None], int(target)) for image, target in zip(images, targets, strict=True)])
    torch.testing.assert_close(cam(images, targets), single)


def test_output_contract(model, images):
    maps = GradCAM(model, LAYERS)(images, target=1)
    assert maps.shape == (4, 3, 8, 10)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.min() >= 0
    assert type(GradCAM(model, LAYERS)(MetaTensor(images), target=1)) is Tensor


def test_empty_batch(model, images):
    assert GradCAM(model, LAYERS)(images[:0], target=1).shape == (0, 3, 8, 10)


@pytest.mark.parametrize("cam_class", [CAM, GradCAM])
def test_three_dimensional_images(cam_class):
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    volumes = torch.rand(2, 1, 6, 7, 8)
    maps = cam_class(model, ["1"])(volumes, target=1)
    assert maps.shape == (2, 1, 6, 7, 8)
    activation, gradient = activation_and_gradient(model, "1", volumes[1], 1)
    coarse = (activation * gradient.mean(dim=(1, 2, 3), keepdim=True)).sum(dim=0).relu()
    scale = gradient[0].numel() if cam_class is CAM else 1
    fine = nn.functional.interpolate(coarse[None, None], size=(6, 7, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps[1], scale * fine[0])
