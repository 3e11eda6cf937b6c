from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from camtools.cams import CAM, GradCAM, class_activation_map, grad_cam
from tests.cam_models import CAM_CLASSES, LAYERS, Classifier
from tests.reference.cams import activation_and_gradient, reference_grad_cam


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


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


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_target_forms_agree(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    torch.testing.assert_close(cam(images, 2), cam(images, torch.full((4,), 2)))
    torch.testing.assert_close(cam(images, 2), cam(images, torch.full((4,), 2, dtype=torch.uint8)))
    torch.testing.assert_close(cam(images), cam(images, model.eval()(images).argmax(dim=1)))


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_samples_do_not_mix(cam_class, model, images):
    targets = torch.tensor([0, 1, 2, 1])
    cam = cam_class(model, ["features.5"])
    single = torch.cat([cam(image[None], int(target)) for image, target in zip(images, targets, strict=True)])
    torch.testing.assert_close(cam(images, targets), single)


class OneLogit(Classifier):
    def __init__(self, squeeze: bool) -> None:
        super().__init__(classes=1)
        nn.init.constant_(self.head.weight, 0.5)
        self.squeeze = squeeze

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits[:, 0] if self.squeeze else logits


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
@pytest.mark.parametrize("squeeze", [True, False])
def test_one_logit(cam_class, squeeze, images):
    cam = cam_class(OneLogit(squeeze), ["features.5"])
    torch.testing.assert_close(cam(images), cam(images, target=0))
    assert cam(images).any()
    with pytest.raises(
        ValueError, match=r"expected target in 0..0 for a model with 1 logits, found 1; a one-logit model takes"
    ):
        cam(images, target=1)


@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_wrong_targets(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"expected target in 0..2 for a model with 3 logits, found {wrong}"):
            cam(images, target=wrong)
        with pytest.raises(ValueError, match=rf"expected target in 0..2 .*found {wrong}"):
            cam(images, target=torch.tensor([0, 1, wrong, 2]))
    with pytest.raises(ValueError, match=r"one integer class per image, shape \(4,\), found shape \(3,\)"):
        cam(images, target=torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"one integer class per image, .* of torch.float32"):
        cam(images, target=torch.zeros(4))
    with pytest.raises(ValueError, match=r"expected target to be an int, an integer tensor \(B,\) or None, found list"):
        cam(images, target=[0, 1, 2, 0])


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


def test_wrong_images(model):
    with pytest.raises(
        ValueError, match=r"expected images \(B, C, H, W\) .* found shape \(2, 8, 8\); .* images\[None\]"
    ):
        GradCAM(model, LAYERS)(torch.rand(2, 8, 8))
