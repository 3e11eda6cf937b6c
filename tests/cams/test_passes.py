"""How a batch is fed to a model: checks, types, chunks, memory formats, half precision, autocast, compiled models."""

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
from camtools.cams.passes import images_per_pass
from tests.cam_models import CAM_CLASSES, GRADIENT_CLASSES, LAYERS, Classifier


@pytest.mark.parametrize(("reused", "factor"), [(False, 1), (True, 4)])
def test_passes_hold_about_the_same_number_of_pixels(reused, factor, monkeypatch):
    monkeypatch.setattr("camtools.cams.passes.memory_is_reused", lambda: reused)
    one = torch.zeros(())  # one number in memory stands for all
    assert images_per_pass(one.expand(99, 3, 256, 256), None) == 4 * factor
    assert images_per_pass(one.expand(99, 1, 128, 128), None) == 16 * factor
    assert images_per_pass(one.expand(99, 1, 64, 64, 32), None) == 2 * factor
    assert images_per_pass(one.expand(99, 1, 4096, 4096), None) == 1
    assert images_per_pass(one.expand(0, 1, 8, 8), None) == 1
    assert images_per_pass(one.expand(99, 1, 8, 8), 5) == 5
    assert images_per_pass(torch.empty(99, 1, 256, 256, device="meta"), None) == 99  # any device that is no CPU


def test_one_channel_images_are_given_channels_last_too():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    seen: list[Tensor] = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    GradCAM(model, ["0"])(torch.rand(2, 1, 8, 9), target=1)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()


class Views(Classifier):
    """A model of its time: Tensor.view, which channels-last activations do not allow."""

    passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        features = self.features(images)
        return self.head(features.view(len(images), 6, -1).view(len(images), -1)[:, :6])


@pytest.mark.parametrize("cam_class", GRADIENT_CLASSES)
def test_model_that_cannot_take_channels_last_gets_what_it_can(cam_class, images):
    class Reshapes(Views):
        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.features(images).reshape(len(images), -1)[:, :6])

    model, twin = Views().eval(), Reshapes().eval()
    twin.load_state_dict(model.state_dict())
    cam = cam_class(model, LAYERS)
    maps = cam(images, target=1)
    torch.testing.assert_close(maps, cam_class(twin, LAYERS)(images, target=1))
    passes = model.passes
    cam(images, target=1)
    assert model.passes == passes + 1  # what it cannot take is tried once only


def test_other_errors_of_the_model_are_not_tried_again(images):
    class Fails(Classifier):
        passes = 0

        def forward(self, images: Tensor) -> Tensor:
            self.passes += 1
            raise RuntimeError("no luck")

    model = Fails()
    with pytest.raises(RuntimeError, match="no luck"):
        GradCAM(model, LAYERS)(images)
    assert model.passes == 1


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_autocast_changes_the_passes_and_little_else(cam_class, model, images):
    nn.init.uniform_(model.head.weight[1], 1, 2)  # any mask is well above a blank image: rounding changes no comparison
    cam = cam_class(model, ["features.5"])
    expected = cam(images, target=1)
    seen: list[torch.dtype] = []
    handle = model.features[5].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        maps = cam(images, target=1)
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert maps.dtype == torch.float32
    assert (maps - expected).abs().mean() < 0.03 * expected.max()
    assert not torch.equal(maps, expected)


def test_maps_inside_an_autocast_region_do_not_stop_training(model, images):
    with torch.autocast("cpu", torch.bfloat16):
        GradCAM(model, LAYERS)(images, target=1)
        CAM(model, LAYERS[-1:])(images, target=1)
        model(images).sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("unused"))


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
@pytest.mark.parametrize("way", ["whole", "in place", "one layer"])
def test_compiled_models(cam_class, way, model, images):
    expected = cam_class(copy.deepcopy(model), ["features.5"])(images, target=1)
    torch.compiler.reset()
    if way == "whole":
        compiled = torch.compile(model, backend="eager")
    else:
        compiled = model
        (model if way == "in place" else model.features[5]).compile(backend="eager")
    with torch.no_grad():
        logits = compiled(images)
    torch.testing.assert_close(cam_class(compiled, ["features.5"])(images, target=1), expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), logits)


def test_half_precision_and_channels_last_models(images):
    for cam_class in GRADIENT_CLASSES:
        torch.manual_seed(0)
        model = Classifier().eval()
        expected = cam_class(model, ["features.5"])(images, target=1)
        last = cam_class(copy.deepcopy(model).to(memory_format=torch.channels_last), ["features.5"])
        torch.testing.assert_close(last(images, target=1), expected)
        half = cam_class(copy.deepcopy(model).bfloat16(), ["features.5"])(images, target=1)
        # a maximum that rounding makes another pixel's moves a gradient, so single pixels may differ by more
        assert 0 < (half - expected).abs().mean() < 0.05 * expected.mean()


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
