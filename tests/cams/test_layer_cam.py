"""Methods that weight activations by their gradients: LayerCAM, and what Grad-CAM++ and XGrad-CAM share with it."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from camtools.cams import GradCAMpp, LayerCAM, XGradCAM, grad_cam_pp, layer_cam, xgrad_cam
from tests.cam_models import ANY_LAYER_CLASSES, LAYERS, Classifier
from tests.reference.cams import activation_and_gradient
from tests.reference.gradient_maps import (
    reference_grad_cam_pp,
    reference_layer_cam,
    reference_maps,
    reference_xgrad_cam,
)

CLASSES = {GradCAMpp: reference_grad_cam_pp, XGradCAM: reference_xgrad_cam, LayerCAM: reference_layer_cam}


FUNCTIONS = {grad_cam_pp: reference_grad_cam_pp, xgrad_cam: reference_xgrad_cam, layer_cam: reference_layer_cam}


@pytest.mark.parametrize("cam_class", CLASSES)
def test_maps_match_reference_with_targets_of_each_sample(cam_class, images):
    model, images = Classifier().double().eval(), images.double()
    layers = ["features.0", *LAYERS]  # the first has negative activations
    targets = torch.tensor([0, 2, 1, 2])
    maps = cam_class(model, layers)(images, target=targets)
    assert maps.shape == (4, 4, 8, 10)
    for b, image in enumerate(images):
        expected = reference_maps(CLASSES[cam_class], model, layers, image, int(targets[b]))
        torch.testing.assert_close(maps[b], expected.float(), rtol=1e-6, atol=1e-7)
    assert (maps.amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (2, 3, 3, 4, 2), (1, 1, 7)])
@pytest.mark.parametrize("signed", [True, False])
def test_functions_match_reference(function, shape, signed):
    activations, gradients = torch.randn(shape).double(), torch.randn(shape).double()
    activations = activations if signed else activations.relu()
    maps = function(activations, gradients)
    assert maps.shape == (shape[0], 1, *shape[2:])
    for b in range(shape[0]):
        torch.testing.assert_close(maps[b, 0], FUNCTIONS[function](activations[b], gradients[b]))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (grad_cam_pp, [1.05, 0.9]),  # weights 2 / (2 + 3 * 2) + 1 / (2 + 3 * 1) = 0.45 and 1 / (2 + 3 * 1) = 0.2
        (xgrad_cam, [0.0, 8 / 3]),  # weights (2 * 1 + 1 * 2) / 3 and (-1 * 3) / 3
        (layer_cam, [2.0, 2.0]),  # 2 * 1 + 0 * 3 and 1 * 2 + 1 * 0
    ],
)
def test_functions_by_hand(function, expected):
    activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    gradients = torch.tensor([[[[2.0, 1.0]], [[-1.0, 1.0]]]])
    torch.testing.assert_close(function(activations, gradients), torch.tensor([[[expected]]]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_check_shapes(function):
    with pytest.raises(ValueError, match=r"same shape \(B, K, \*spatial\), found \(1, 2, 3, 3\) and \(1, 2, 3, 4\)"):
        function(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"same shape \(B, K, \*spatial\), found \(1, 2\) and \(1, 2\)"):
        function(torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_functions_compute_half_precision_in_float32(function, dtype):
    activations, gradients = torch.rand(2, 8, 6, 7, dtype=dtype), torch.randn(2, 8, 6, 7).to(dtype)
    expected = function(activations.float(), gradients.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = function(activations, gradients)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected)
    last = torch.channels_last
    torch.testing.assert_close(
        function(activations.contiguous(memory_format=last), gradients.contiguous(memory_format=last)), expected
    )


@pytest.mark.parametrize("cam_class", CLASSES)
def test_three_dimensional_images(cam_class):
    model = nn.Sequential(nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 2))
    volumes = torch.rand(2, 1, 6, 7, 8)
    maps = cam_class(model, ["1"])(volumes, target=1)
    coarse = CLASSES[cam_class](*activation_and_gradient(model, "1", volumes[1], 1))
    fine = nn.functional.interpolate(coarse[None, None], size=(6, 7, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps[1], fine[0])


@pytest.mark.parametrize("cam_class", ANY_LAYER_CLASSES)
@pytest.mark.parametrize("frozen", [True, False])
def test_bfloat16_model(cam_class, frozen, images):
    model = Classifier().double()
    nn.init.uniform_(model.head.weight[1], 1, 2)  # Cfd-CAM: no mask is about as confident as a blank image
    expected = cam_class(model, LAYERS)(images, 1)
    maps = cam_class(copy.deepcopy(model).bfloat16().requires_grad_(not frozen), LAYERS)(images, 1)
    assert maps.dtype == torch.float32
    assert (maps - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize("cam_class", ANY_LAYER_CLASSES)
def test_output_contract(cam_class, images):
    cam = cam_class(Classifier(), LAYERS)
    maps = cam(MetaTensor(images), target=1)
    assert type(maps) is Tensor
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.min() >= 0
    assert cam(images[:0], target=1).shape == (0, *maps.shape[1:])
    torch.testing.assert_close(cam_class(cam.model, LAYERS, batch_size=3)(images, target=1), maps)
