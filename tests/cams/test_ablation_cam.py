from __future__ import annotations

import copy
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import AblationCAM, ablation_cam
from tests.cam_models import LAYERS, Classifier
from tests.cams.test_capture import state
from tests.reference.perturbation_maps import reference_ablation_cam, weighted_map


def count_images(module: nn.Module) -> list[int]:
    """Batch size of every call of a module."""
    seen: list[int] = []
    module.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


def test_maps_match_reference_with_targets_of_each_sample(model, images):
    model, images = model.double(), images[:2].double()
    layers = ["features.0", *LAYERS]  # the first has negative activations, the last one the closed form
    targets = torch.tensor([0, 2])
    maps = AblationCAM(model, layers)(images, target=targets)
    assert maps.shape == (2, 4, 8, 10)
    for b, image in enumerate(images):
        for m, layer in enumerate(layers):
            expected = reference_ablation_cam(model, layer, image, int(targets[b]))
            torch.testing.assert_close(maps[b, m], expected.float(), rtol=1e-6, atol=1e-7)
    assert (maps.amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1, 1, 2, 3)])
def test_function_matches_reference(shape):
    activations, scores = torch.randn(shape).double(), torch.randn(shape[0]).double()
    ablated = torch.randn(shape[:2]).double()
    maps = ablation_cam(activations, scores, ablated)
    assert maps.shape == (shape[0], 1, *shape[2:])
    for b in range(shape[0]):
        weights = [float((scores[b] - lost) / scores[b]) for lost in ablated[b]]
        torch.testing.assert_close(maps[b, 0], weighted_map(activations[b], weights))


def test_function_by_hand():
    activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    for score, ablated, expected in (
        (4.0, [2.0, 5.0], [0.0, 1.0]),  # weights 1/2 and -1/4
        (-4.0, [-6.0, -3.0], [0.25, 0.0]),  # weights -1/2 and 1/4
        (-4.0, [-2.0, -6.0], [0.0, 1.0]),  # weights 1/2 and -1/2
        (0.0, [1.0, -1.0], [0.0, 0.0]),  # no share of nothing
    ):
        maps = ablation_cam(activations, torch.tensor([score]), torch.tensor([ablated]))
        torch.testing.assert_close(maps, torch.tensor([[[expected]]]))


def test_function_computes_half_precision_in_float32():
    activations, score, ablated = torch.rand(2, 8, 3, 4), torch.rand(2), torch.rand(2, 8)
    half = ablation_cam(activations.bfloat16(), score.bfloat16(), ablated.bfloat16())
    assert half.dtype == torch.float32
    wide = ablation_cam(*(values.bfloat16().float() for values in (activations, score, ablated)))
    torch.testing.assert_close(half, wide)


def test_function_checks_shapes():
    with pytest.raises(ValueError, match=r"weights \(B, K\), found \(1, 2, 3, 3\) and \(1, 3\)"):
        ablation_cam(torch.zeros(1, 2, 3, 3), torch.zeros(1), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"expected score \(B,\) with B = 2, found \(1,\)"):
        ablation_cam(torch.zeros(2, 2, 3, 3), torch.zeros(1), torch.zeros(2, 2))


def test_closed_form_takes_one_pass_and_equals_the_passes(model, images, monkeypatch):
    model, images = model.double(), images.double()
    targets = torch.tensor([0, 2, 1, 2])
    seen = count_images(model)
    maps = AblationCAM(model, ["features.5"])(images, targets)
    assert seen == [4]
    monkeypatch.setattr(import_module("camtools.cams.ablation_cam"), "head_mismatch", lambda *args: "no head")
    torch.testing.assert_close(AblationCAM(model, ["features.5"])(images, targets), maps)
    assert len(seen) > 2


def test_closed_form_with_a_convolution_as_head():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.rand(1, 2, 6, 7)
    expected = reference_ablation_cam(model, "1", image[0], 1)
    seen = count_images(model)
    torch.testing.assert_close(AblationCAM(model, ["1"])(image, target=1)[0, 0], expected, rtol=1e-4, atol=1e-6)
    assert seen == [1]


@pytest.mark.parametrize("heads", [0, 2])
def test_models_without_one_linear_head(heads, images):
    class Heads(Classifier):
        def __init__(self) -> None:
            super().__init__()
            if heads == 0:
                self.unused, self.head = nn.Identity(), nn.Flatten()
            else:
                self.auxiliary = nn.Linear(6, 3)  # comes last, and is not used

    model = Heads().eval()
    expected = reference_ablation_cam(model, "features.5", images[1], 1)
    maps = AblationCAM(model, ["features.5"])(images, target=1)
    torch.testing.assert_close(maps[1, 0], expected, rtol=1e-4, atol=1e-6)


class Skips(Classifier):
    """Adds to the input of a layer in place, as a residual block may."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.features[0](images)
        x += self.features[1](x)
        return self.head(self.features[2:](x).amax(dim=(2, 3)))


class Concatenates(Classifier):
    """Concatenates input and output of a layer, as a dense block does, and reads the batch size."""

    def forward(self, images: Tensor) -> Tensor:
        x = self.features[0](images)
        x = torch.cat([x, self.features[1](x)], dim=1)
        x = x.view(len(images), 2, 4, *images.shape[2:]).sum(dim=1)
        return self.head(self.features[2:](x).amax(dim=(2, 3)))


@pytest.mark.parametrize("kind", [Skips, Concatenates])
def test_models_that_use_the_input_of_the_layer_again(kind, images):
    model = kind().double().eval()
    images = images[:3].double()
    expected = torch.stack([reference_ablation_cam(model, "features.1", image, k) for k, image in enumerate(images)])
    maps = AblationCAM(model, ["features.1"], batch_size=3)(images, target=torch.arange(3))
    torch.testing.assert_close(maps[:, 0], expected.float(), rtol=1e-5, atol=1e-7)
    assert maps.any()


def test_channels_that_are_zero_need_no_copy(model, images):
    nn.init.constant_(model.features[0].bias, 1.0)
    with torch.no_grad():
        model.features[0].bias[[1, 2]] = -9.0
    expected = reference_ablation_cam(model, "features.1", images[0], 2)
    after = count_images(model.features[3])
    maps = AblationCAM(model, ["features.1"], batch_size=9)(images[:1], target=2)
    assert after == [1, 3]  # one pass for the logits; then the image itself and 2 channels
    torch.testing.assert_close(maps[0, 0], expected, rtol=1e-4, atol=1e-6)
    nn.init.constant_(model.features[0].bias, -9.0)
    assert not AblationCAM(model, ["features.1"])(images[:1], target=2).any()


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_batch_size_bounds_the_copies_of_a_pass(batch_size, model, images):
    expected = torch.stack([reference_ablation_cam(model, "features.3", image, 1) for image in images[:2]])
    seen = count_images(model.features[5])
    maps = AblationCAM(model, ["features.3"], batch_size)(images[:2], target=1)
    assert max(seen) <= batch_size
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_make_their_differences_in_float32(dtype, images):
    model = Classifier().to(dtype).eval()
    expected = AblationCAM(copy.deepcopy(model).double(), LAYERS[:2])(images.to(dtype), target=1)
    weights = [parameter.clone() for parameter in model.parameters()]
    maps = AblationCAM(model, LAYERS[:2])(images.to(dtype), target=1)
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        assert torch.equal(parameter, weight)
    closed = AblationCAM(model, LAYERS[2:])(images.to(dtype), target=1)
    wide = AblationCAM(copy.deepcopy(model).double(), LAYERS[2:])(images.to(dtype), target=1)
    assert 0 < (closed - wide).norm() / wide.norm() < 0.02


def test_autocast_does_not_round_the_differences(model, images):
    expected = AblationCAM(model, LAYERS[:2])(images, target=1)
    with torch.autocast("cpu", torch.bfloat16):
        maps = AblationCAM(model, LAYERS[:2])(images, target=1)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)


def test_model_that_runs_in_half_precision_only_is_refused(images):
    class Casts(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.bfloat16())

    with pytest.raises(RuntimeError, match="BFloat16"):
        AblationCAM(Casts().bfloat16().eval(), ["features.3"])(images, target=1)


def test_model_that_cannot_take_channels_last(images):
    class Views(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.features(images).view(len(images), -1)[:, :6])

    model = Views().eval()
    for layer in LAYERS:
        expected = reference_ablation_cam(model, layer, images[3], 1)
        maps = AblationCAM(model, [layer])(images, target=1)
        torch.testing.assert_close(maps[3, 0], expected, rtol=1e-4, atol=1e-6)


def test_three_dimensional_images():
    model = nn.Sequential(nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 2))
    volumes = torch.rand(2, 1, 6, 7, 8)
    maps = AblationCAM(model, ["1"])(volumes, target=1)
    activation = model[:2](volumes[1:])
    score = model[2:](activation)[0, 1]
    ablated = torch.stack([model[2:](activation.index_fill(1, torch.tensor([k]), 0))[0, 1] for k in range(3)])
    coarse = (((score - ablated) / score).view(1, 3, 1, 1, 1) * activation).sum(dim=1, keepdim=True).relu()
    expected = F.interpolate(coarse, size=(6, 7, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps[1], expected[0])


def test_errors_of_the_model_are_not_hidden(model, images):
    class Picky(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            features = self.features(images)
            if not features.all():
                raise RuntimeError("a channel is missing")
            return self.head(features.amax(dim=(2, 3)))

    model = Picky().eval()
    nn.init.constant_(model.features[4].bias, 9.0)
    with pytest.raises(RuntimeError, match="a channel is missing"):
        AblationCAM(model, ["features.5"])(images, target=1)


def test_out_of_memory_is_not_hidden_and_the_model_is_given_back(images):
    class Large(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 3:
                raise torch.OutOfMemoryError("no memory for so many copies")
            return super().forward(images)

    model = Large().eval()
    before = state(model)
    with pytest.raises(torch.OutOfMemoryError, match="so many copies"):
        AblationCAM(model, ["features.3"], batch_size=4)(images[:1], target=1)
    assert state(model) == before
    assert AblationCAM(model, ["features.3"], batch_size=3)(images[:1], target=1).any()
