from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import CAM, GradCAM, class_activation_map, grad_cam
from tests.cam_models import CAM_CLASSES, LAYER_CLASSES, LAYERS, Classifier
from tests.reference.cams import reference_grad_cam


@pytest.fixture
def model() -> Classifier:
    return Classifier()


@pytest.fixture
def expected(model, images) -> Tensor:
    """Maps of target 1, computed once in double precision."""
    return GradCAM(copy.deepcopy(model).double(), LAYERS)(images, target=1)


def test_layers_in_any_order_and_repeated(model, images, expected):
    maps = GradCAM(model, [LAYERS[2], LAYERS[0], LAYERS[2]])(images, target=1)
    torch.testing.assert_close(maps, expected[:, [2, 0, 2]])


def test_unknown_layer_lists_near_names(model):
    with pytest.raises(
        ValueError, match=r"expected the name of a layer of Classifier, found 'feature.5'; near names: features.5, "
    ):
        GradCAM(model, ["feature.5"])
    with pytest.raises(ValueError, match=r"found 'zzz'; near names: .*unused, head"):
        GradCAM(model, ["zzz"])


@pytest.mark.parametrize("layers", [[], "features.5"])
def test_layers_must_be_a_list_of_names(model, layers):
    with pytest.raises(ValueError, match=r"expected layers as a list of layer names, found .* layers=\['NAME'\]"):
        GradCAM(model, layers)


@pytest.mark.parametrize("cam_class", LAYER_CLASSES)
def test_layer_that_never_runs(cam_class, model, images):
    with pytest.raises(
        ValueError, match="expected layer 'unused' to run in the forward pass, found that it did not; choose a layer"
    ):
        cam_class(model, ["features.5", "unused"])(images)


@pytest.mark.parametrize("cam_class", LAYER_CLASSES)
def test_layer_that_runs_twice(cam_class, images):
    model = Classifier()
    model.features[5] = model.features[1]
    with pytest.raises(
        ValueError, match=r"expected layer 'features.1' to run once per forward pass, found a second run"
    ):
        cam_class(model, ["features.1"])(images)


def test_layer_without_spatial_activations(model, images):
    with pytest.raises(
        ValueError, match=r"expected layer 'head' to return one tensor .* 4 dimensions .* found \(4, 3\)"
    ):
        GradCAM(model, ["head"])(images)


class Branches(nn.Module):
    """Two parallel branches, one of which does not reach the logits when ``cut``."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
        self.cut = cut

    def forward(self, images: Tensor) -> Tensor:
        left, right = self.left(images).relu(), self.right(images).relu()
        return (left if self.cut else left * right).mean(dim=(2, 3))


@pytest.mark.parametrize("frozen", [True, False])
def test_parallel_layers(frozen, images):
    model = Branches(cut=False).requires_grad_(not frozen)
    maps = GradCAM(model, ["left", "right"])(images, target=1)
    single = torch.cat([GradCAM(model, [layer])(images, target=1) for layer in ("left", "right")], dim=1)
    torch.testing.assert_close(maps, single)
    assert (maps.amax(dim=(2, 3)) > 0).any(dim=0).all()


def test_layer_that_does_not_reach_the_logits(images):
    with pytest.raises(ValueError, match="no gradient reaches layer 'right': the logits do not depend on it"):
        GradCAM(Branches(cut=True), ["left", "right"])(images, target=1)
    with pytest.raises(ValueError, match="no gradient reaches right: the logits do not depend on it"):
        GradCAM(Branches(cut=True).requires_grad_(False), ["right"])(images, target=1)


class Wrapped(nn.Module):
    def __init__(self, output: str) -> None:
        super().__init__()
        self.inner = Classifier()
        self.output = output

    def forward(self, images: Tensor) -> object:
        logits = self.inner(images)
        return {"dict": {"logits": logits}, "map": logits[:, :, None, None]}[self.output]


@pytest.mark.parametrize(("output", "found"), [("dict", "dict"), ("map", r"\(4, 3, 1, 1\)")])
def test_model_that_does_not_return_logits(output, found, images):
    with pytest.raises(
        ValueError, match=rf"expected a classifier that returns logits \(B, K\) with B = 4, found {found}"
    ):
        GradCAM(Wrapped(output), ["inner.features.5"])(images)


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


@pytest.mark.parametrize("layers", [["features.0", "features.4"], ["features.4"], ["features.0", "features.1"]])
@pytest.mark.parametrize("frozen", [True, False])
def test_in_place_relu_after_a_layer(layers, frozen, model, images):
    inplace = Classifier(inplace=True).requires_grad_(not frozen)
    inplace.load_state_dict(model.state_dict())
    torch.testing.assert_close(GradCAM(inplace, layers)(images, 1), GradCAM(model, layers)(images, 1))


@pytest.mark.parametrize("inplace", [True, False])
def test_activation_is_safe_from_writes_to_what_it_aliases(inplace, images):
    class Alias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.drop = nn.Conv2d(2, 3, 3), nn.Dropout()  # in evaluation mode, dropout returns its input

        def forward(self, images: Tensor) -> Tensor:
            features = self.stem(images)
            dropped = self.drop(features)
            features = features.mul_(0) if inplace else features * 0
            return (dropped.clone() + features).mean(dim=(2, 3))

    torch.manual_seed(1)
    model = Alias()
    activation = model.stem(images)
    expected = grad_cam(activation, torch.zeros_like(activation).index_fill(1, torch.tensor([2]), 1 / 48))
    maps = GradCAM(model, ["drop"])(images, target=2)
    torch.testing.assert_close(
        maps, nn.functional.interpolate(expected, size=(8, 10), mode="bilinear", align_corners=False)
    )


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


def test_autocast_does_not_round_the_weighted_sum():
    activations, weights = torch.randn(2, 8, 6, 7), torch.randn(2, 8)
    expected = class_activation_map(activations, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(class_activation_map(activations, weights), expected, rtol=0, atol=0)


def test_channels_last(model, images, expected):
    model = model.to(memory_format=torch.channels_last)
    maps = GradCAM(model, LAYERS)(images.to(memory_format=torch.channels_last), 1)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("track", [True, False])
def test_instance_norm(track, images):
    model = Classifier(norm=lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=track))
    maps = GradCAM(model, LAYERS)(images, 1)
    expected = reference_grad_cam(model.double().eval(), "features.3", images[2].double(), 1)
    torch.testing.assert_close(maps[2, 1], expected.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cam_class", CAM_CLASSES)
def test_cuda(cam_class, model, images):
    cam = cam_class(model, ["features.5"])
    expected = cam(images, torch.tensor([0, 2, 1, 2]))
    model.cuda()
    maps = cam(images.cuda(), torch.tensor([0, 2, 1, 2]))
    assert maps.device.type == "cuda"
    torch.testing.assert_close(maps.cpu(), expected, rtol=5e-3, atol=1e-4)  # TF32 convolutions
