from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.cams import GradCAM, class_activation_map, grad_cam
from tests.cam_models import LAYERS, Classifier
from tests.reference.cams import reference_grad_cam


@pytest.fixture
def model() -> Classifier:
    return Classifier()


def test_grad_cam_matches_reference(model, images):
    model, images = model.double().eval(), images.double()
    targets = torch.tensor([0, 2, 1, 2])
    maps = GradCAM(model, LAYERS)(images, target=targets)
    for b, image in enumerate(images):
        for m, layer in enumerate(LAYERS):
            expected = reference_grad_cam(model, layer, image, int(targets[b]))
            torch.testing.assert_close(maps[b, m], expected.float(), rtol=1e-6, atol=1e-7)
    assert (maps.amax(dim=(2, 3)) > 0).any()


def test_grad_cam_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False), nn.AvgPool2d(2), nn.Flatten())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 3.0]]).view(2, 2, 1, 1))
    image = torch.tensor([[1.0, 2.0], [-3.0, 4.0]]).view(1, 1, 2, 2)
    # class 1: dy/df = (1, 3) / 4 everywhere, so the map is ReLU((f_0 + 3 f_1) / 4) = ReLU(-x / 2)
    maps = GradCAM(model, ["0"])(image, target=1)
    torch.testing.assert_close(maps, torch.tensor([[0.0, 0.0], [1.5, 0.0]]).view(1, 1, 2, 2))


def test_pure_functions_match_by_hand():
    activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    gradients = torch.tensor([[[[2.0, 0.0]], [[-1.0, 0.0]]]])
    expected = torch.tensor([[[[0.0, 2.0]]]])
    torch.testing.assert_close(grad_cam(activations, gradients), expected)
    torch.testing.assert_close(class_activation_map(activations, torch.tensor([[1.0, -0.5]])), expected)


def test_grad_cam_is_linear_in_positive_factors():
    activations, gradients = torch.randn(2, 5, 6, 7), torch.randn(2, 5, 6, 7)
    torch.testing.assert_close(grad_cam(activations, 3 * gradients), 3 * grad_cam(activations, gradients))
    torch.testing.assert_close(grad_cam(2 * activations, gradients), 2 * grad_cam(activations, gradients))
    both = grad_cam(activations, gradients) - grad_cam(activations, -gradients)  # x = ReLU(x) - ReLU(-x)
    torch.testing.assert_close(
        both, (activations * gradients.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True), atol=1e-6, rtol=1e-5
    )


def test_pure_functions_accept_any_memory_format_and_half_precision():
    activations, gradients = torch.randn(2, 8, 6, 7), torch.randn(2, 8, 6, 7)
    expected = grad_cam(activations, gradients)
    last = torch.channels_last
    torch.testing.assert_close(
        grad_cam(activations.contiguous(memory_format=last), gradients.contiguous(memory_format=last)), expected
    )
    half = grad_cam(activations.bfloat16(), gradients.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, grad_cam(activations.bfloat16().float(), gradients.bfloat16().float()))
    assert grad_cam(activations.double(), gradients.double()).dtype == torch.float64


def test_pure_functions_check_shapes():
    with pytest.raises(ValueError, match=r"same shape \(B, K, \*spatial\), found \(1, 2, 3, 3\) and \(1, 2, 3, 4\)"):
        grad_cam(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"same shape \(B, K, \*spatial\), found \(1, 2\) and \(1, 2\)"):
        grad_cam(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"weights \(B, K\), found \(1, 2, 3, 3\) and \(1, 3\)"):
        class_activation_map(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3))
