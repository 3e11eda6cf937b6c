from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.cams import CAM, GradCAM, class_activation_map
from tests.cam_models import LAYERS, Classifier


@pytest.fixture
def model() -> Classifier:
    return Classifier()


def test_cam_checks_the_head(model, images):
    with pytest.raises(ValueError, match=r"expected a head with 4 inputs, the channels of layer 'features.1'"):
        CAM(model, ["features.1"])(images)
    with pytest.raises(ValueError, match=r"expected logits that are the head of the global average of layer"):
        CAM(model, ["features.4"])(images)  # before the ReLU: not what the model averages
    with pytest.raises(
        ValueError, match=r"expected head to name a linear .* found 'features.0' in Classifier, which has unused, head"
    ):
        CAM(model, LAYERS, head="features.0")
    with pytest.raises(
        ValueError, match=r"expected head to name a .* found None in Sequential, which has none; use GradCAM"
    ):
        CAM(nn.Sequential(nn.Conv2d(1, 1, 3)), ["0"])
    torch.testing.assert_close(CAM(model, LAYERS[2:], head="head")(images), CAM(model, LAYERS[2:])(images))


def test_autocast_does_not_round_the_weighted_sum():
    activations, weights = torch.randn(2, 8, 6, 7), torch.randn(2, 8)
    expected = class_activation_map(activations, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(class_activation_map(activations, weights), expected, rtol=0, atol=0)


def test_cam_is_grad_cam_times_the_number_of_positions(model, images):
    layer = ["features.5"]
    targets = torch.tensor([0, 2, 1, 2])
    torch.testing.assert_close(CAM(model, layer)(images, targets), 4 * 5 * GradCAM(model, layer)(images, targets))


def test_cam_by_hand_with_either_head():
    weights = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    linear = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    convolution = nn.Sequential(nn.Identity(), nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    linear[3].weight.data = weights
    convolution[1].weight.data = weights.view(2, 2, 1, 1)
    image = torch.tensor([[[1.0, 0.0]], [[2.0, -3.0]]])[None]
    for model in (linear, convolution):
        torch.testing.assert_close(CAM(model, ["0"])(image, target=1), torch.tensor([[[[4.5, 0.0]]]]))
        torch.testing.assert_close(CAM(model, ["0"])(image, target=0), torch.tensor([[[[0.0, 3.0]]]]))
