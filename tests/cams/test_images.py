"""Images and models of other types, memory formats and devices."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtools.cams import (
    CAM,
    FullGrad,
    GradCAM,
)
from tests.cam_models import CAM_CLASSES, LAYERS, Classifier


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


def test_images_that_are_no_float_tensor_of_the_model(model, images):
    cam = GradCAM(model, LAYERS)
    with pytest.raises(
        ValueError, match=r"expected images as a tensor .* found ndarray; for NumPy, pass torch.from_numpy\(images\)"
    ):
        cam(images.numpy())
    for dtype in (torch.uint8, torch.int16, torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=rf"expected floating-point images, .* found {dtype}; .*float\(\) / 255"):
            cam(images.to(dtype))
    with pytest.raises(ValueError, match=r"expected images on the device of the model, cpu, found meta; move them"):
        cam(images.to("meta"))


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_images_of_other_types_and_memory(cam_class, model, images):
    expected = cam_class(model, ["features.5"])(images, 1)
    torch.testing.assert_close(cam_class(model, ["features.5"])(images.double(), 1), expected)
    shared = torch.from_numpy(np.ascontiguousarray(images.numpy()))
    torch.testing.assert_close(cam_class(model, ["features.5"])(shared, 1), expected)


@pytest.mark.parametrize("cam_class", [GradCAM, FullGrad])
def test_volumes_in_memory_of_numpy(cam_class):  # torch cannot clone it lazily
    model = nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2))
    volumes = torch.rand(2, 1, 5, 6, 7)
    cam = cam_class(model, ["0"])
    torch.testing.assert_close(cam(torch.from_numpy(volumes.numpy()), 1), cam(volumes, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cast_images", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_half_precision_model(dtype, cast_images, frozen, model, images, expected):
    half = copy.deepcopy(model).to(dtype).requires_grad_(not frozen)
    maps = GradCAM(half, LAYERS)(images.to(dtype) if cast_images else images, 1)
    assert maps.dtype == torch.float32
    error = (maps - expected).norm() / expected.norm()
    assert error < (0.03 if dtype == torch.bfloat16 else 0.015)
    cam = CAM(half, ["features.5"])(images, 1)
    assert ((cam - CAM(model, ["features.5"])(images, 1)).norm() / cam.norm()) < 0.03


def test_autocast_maps_are_float32(model, images, expected):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = GradCAM(model, LAYERS)(images, 1)
    assert maps.dtype == torch.float32
    assert (maps - expected).norm() / expected.norm() < 0.03


def test_channels_last(model, images, expected):
    model = model.to(memory_format=torch.channels_last)
    maps = GradCAM(model, LAYERS)(images.to(memory_format=torch.channels_last), 1)
    torch.testing.assert_close(maps, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_cuda(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    expected = cam(images, torch.tensor([0, 2, 1, 2]))
    model.cuda()
    maps = cam(images.cuda(), torch.tensor([0, 2, 1, 2]))
    assert maps.device.type == "cuda"
    torch.testing.assert_close(maps.cpu(), expected, rtol=5e-3, atol=1e-4)  # TF32 convolutions


def test_wrong_images(model):
    with pytest.raises(
        ValueError, match=r"expected images \(B, C, H, W\) .* found shape \(2, 8, 8\); .* images\[None\]"
    ):
        GradCAM(model, LAYERS)(torch.rand(2, 8, 8))
