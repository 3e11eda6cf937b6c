from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.cams import (
    GradCAM,
    LayerCAM,
    LTActivationMap,
    LTGradCAM,
    LTLayerCAM,
    grad_cam,
    xgrad_cam,
)
from camtools.fusion import layer_sum
from tests.cam_models import LAYERS, Classifier
from tests.reference.cams import activation_and_gradient
from tests.reference.gradient_maps import (
    reference_grad_cam_map,
    reference_layer_cam,
    reference_lt_map,
    reference_truncate,
    reference_xgrad_cam,
)

CLASSES = {LTGradCAM: reference_grad_cam_map, LTLayerCAM: reference_layer_cam}


@pytest.fixture
def model() -> Classifier:
    """Classifier with a gradient of its own at every position, so that percentiles are no ties."""
    model = Classifier()
    model.head = nn.Linear(6 * 4 * 5, 3)
    model.forward = lambda images: model.head(model.features(images).flatten(1))
    return model


def test_wrong_arguments(model):
    for wrong in (-1, 100.5, float("nan")):
        with pytest.raises(ValueError, match=rf"expected a percentile in 0..100, found {wrong}"):
            LTGradCAM(model, LAYERS, percentile=wrong)
    with pytest.raises(ValueError, match="expected batch_size >= 1"):
        LTLayerCAM(model, LAYERS, batch_size=0)
    with pytest.raises(ValueError, match="expected the name of a layer of Classifier, found 'feature.5'"):
        LTGradCAM(model, ["feature.5"])


@pytest.mark.parametrize("cam_class", CLASSES)
@pytest.mark.parametrize("percentile", [0, 20, 70])
def test_maps_match_reference_with_targets_of_each_sample(cam_class, percentile, model, images):
    model, images = model.double().eval(), images.double()
    targets = torch.tensor([0, 2, 1, 2])
    maps = cam_class(model, LAYERS, percentile=percentile)(images, target=targets)
    assert maps.shape == (4, 1, 8, 10)
    for b, image in enumerate(images):
        expected = reference_lt_map(CLASSES[cam_class], model, LAYERS, image, int(targets[b]), percentile)
        torch.testing.assert_close(maps[b], expected.float(), rtol=1e-6, atol=1e-7)
    assert maps.any()


def test_percentile_is_20_unless_given(model, images):
    torch.testing.assert_close(LTGradCAM(model, LAYERS)(images, 1), LTGradCAM(model, LAYERS, 20)(images, 1))
    assert not torch.equal(LTGradCAM(model, LAYERS)(images, 1), LTGradCAM(model, LAYERS, 0)(images, 1))


@pytest.mark.parametrize(("cam_class", "expected"), [(LTGradCAM, [4 / 3, 8 / 3, 4.0]), (LTLayerCAM, [0.0, 8.0, 0.0])])
def test_maps_by_hand(cam_class, expected):
    model = nn.Sequential(nn.Identity(), nn.Identity(), nn.Flatten(), nn.Linear(6, 1))
    model[3].weight.data = torch.tensor([[1.0, 2.0, -5.0, -1.0, -1.0, -1.0]])  # is the gradient of both layers
    image = torch.tensor([[[[1.0, 2.0, 3.0]], [[3.0, 0.0, 6.0]]]])
    # of the positive gradients 1 and 2 the median keeps 2: mean 2 / 3, local weights (0, 2, 0); two equal layers
    maps = cam_class(model, ["0", "1"], percentile=50)(image)
    torch.testing.assert_close(maps, torch.tensor([[[expected]]]))


def test_maps_are_not_normalised_before_they_are_added(model, images):
    parts = torch.cat([LTGradCAM(model, [layer])(images, 1) for layer in LAYERS], dim=1)
    torch.testing.assert_close(LTGradCAM(model, LAYERS)(images, 1), parts.sum(dim=1, keepdim=True))


def test_layer_cam_truncated_at_zero_is_the_sum_of_plain_layer_cam(model, images):
    expected = layer_sum(LayerCAM(model, LAYERS)(images, 1))
    torch.testing.assert_close(LTLayerCAM(model, LAYERS, percentile=0)(images, 1), expected)


def test_positive_constant_gradients_are_all_kept(images):
    model = Classifier()
    nn.init.uniform_(model.head.weight, 0.1, 1.0)  # at the averaged layer, the gradient of a channel is one number
    expected = GradCAM(model, ["features.5"])(images, 1)
    torch.testing.assert_close(LTGradCAM(model, ["features.5"], percentile=90)(images, 1), expected)


def test_tricks_plug_into_any_function(model, images):
    model, images = model.double().eval(), images.double()
    maps = LTActivationMap(model, LAYERS, function=xgrad_cam, percentile=30, batch_size=3)(images, target=2)
    expected = reference_lt_map(reference_xgrad_cam, model, LAYERS, images[3], 2, 30)
    torch.testing.assert_close(maps[3], expected.float(), rtol=1e-6, atol=1e-7)
    plugged = LTActivationMap(model, LAYERS, function=grad_cam)(images, target=2)
    torch.testing.assert_close(plugged, LTGradCAM(model, LAYERS)(images, target=2), rtol=0, atol=0)


@pytest.mark.parametrize("cam_class", CLASSES)
def test_samples_and_chunks_do_not_mix(cam_class, model, images):
    targets = torch.tensor([0, 1, 2, 1])
    cam = cam_class(model.double(), LAYERS)
    maps = cam(images, targets)
    single = torch.cat([cam(image[None], int(target)) for image, target in zip(images, targets, strict=True)])
    torch.testing.assert_close(maps, single)
    torch.testing.assert_close(cam_class(model, LAYERS, batch_size=3)(images, targets), maps)


@pytest.mark.parametrize("cam_class", CLASSES)
def test_three_dimensional_images(cam_class):
    model = nn.Sequential(nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 2))
    volumes = torch.rand(2, 1, 6, 7, 8)
    maps = cam_class(model, ["1"])(volumes, target=1)
    activation, gradient = activation_and_gradient(model, "1", volumes[1], 1)
    coarse = CLASSES[cam_class](activation, reference_truncate(gradient, 20))
    fine = nn.functional.interpolate(coarse[None, None], size=(6, 7, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps[1], fine[0])
