from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import ScoreCAM, score_cam
from camtools.cams.masks import channel_masks, is_constant, masked_scores
from tests.cam_models import LAYERS, Classifier
from tests.reference.perturbation_maps import (
    layer_output,
    reference_mask,
    reference_score_cam,
    reference_score_cam_map,
)


def watch_inputs(model: nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    return seen


def test_maps_match_reference_with_targets_of_each_sample(model, images):
    model, images = model.double(), images[:2].double()
    layers = ["features.0", *LAYERS]  # the first has negative activations
    targets = torch.tensor([0, 2])
    maps = ScoreCAM(model, layers)(images, target=targets)
    assert maps.shape == (2, 4, 8, 10)
    for b, image in enumerate(images):
        for m, layer in enumerate(layers):
            expected = reference_score_cam(model, layer, image, int(targets[b]))
            torch.testing.assert_close(maps[b, m], expected.float(), rtol=1e-6, atol=1e-7)
    assert (maps.amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1, 1, 2, 3)])
def test_function_matches_reference(shape):
    activations, scores = torch.randn(shape).double(), 3 * torch.randn(shape[:2]).double()
    maps = score_cam(activations, scores)
    assert maps.shape == (shape[0], 1, *shape[2:])
    for b in range(shape[0]):
        torch.testing.assert_close(maps[b, 0], reference_score_cam_map(activations[b], scores[b].tolist()))


def test_function_by_hand():
    activations = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]])
    scores = torch.tensor([[0.0, 3.0]]).log()  # weights 0 and 1
    torch.testing.assert_close(score_cam(activations, scores), torch.tensor([[[[3.0, 0.0]]]]))
    scores = torch.tensor([[3.0, 1.0]]).log()  # weights 3/4 and 1/4
    torch.testing.assert_close(score_cam(activations, scores), torch.tensor([[[[1.5, 0.0]]]]))


def test_a_baseline_drops_out_of_the_softmax():
    activations, scores = torch.randn(2, 5, 3, 4), torch.randn(2, 5)
    torch.testing.assert_close(score_cam(activations, scores - 7), score_cam(activations, scores))


def test_function_computes_half_precision_in_float32():
    activations, scores = torch.rand(2, 8, 3, 4).half(), (300 * torch.rand(2, 8)).half()
    maps = score_cam(activations, scores)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, score_cam(activations.float(), scores.float()))


def test_function_checks_shapes():
    with pytest.raises(ValueError, match=r"weights \(B, K\), found \(1, 2, 3, 3\) and \(1, 3\)"):
        score_cam(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("size", [(8, 10), (7, 5), (3, 4), (2, 3)])
def test_masks_match_reference(size):
    channels = torch.randn(6, 1, 3, 4).double()
    masks = channel_masks(channels, torch.Size(size))
    for channel, mask in zip(channels, masks, strict=True):
        torch.testing.assert_close(mask[0], reference_mask(channel[0], *size))
        assert (mask.min(), mask.max()) == (0, 1)


def test_masks_of_volumes_match_interpolation():
    channels = torch.randn(2, 1, 2, 3, 4)
    masks = channel_masks(channels, torch.Size((5, 6, 7)))
    fine = F.interpolate(channels, size=(5, 6, 7), mode="trilinear", align_corners=False)
    for mask, values in zip(masks, fine, strict=True):
        torch.testing.assert_close(mask, (values - values.min()) / (values.max() - values.min()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mask_of_a_constant_channel_is_zero_whatever_upsampling_rounds(dtype):
    for value in (0.0, 0.1, -0.7, 1e6):
        channels = torch.full((1, 1, 3, 4), value, dtype=dtype)
        masks = channel_masks(channels, torch.Size((11, 13)))
        assert masks.dtype == torch.float32
        assert not masks.any()
    assert not channel_masks(torch.rand(1, 1, 1, 1), torch.Size((4, 4))).any()


def test_masks_do_not_hide_nan():
    activations = torch.tensor([[[[1.0, torch.nan]], [[2.0, 2.0]]]])
    assert is_constant(activations).tolist() == [[False, True]]
    assert channel_masks(activations[0, :1, None], torch.Size((1, 4))).isnan().all()


def test_constant_channels_of_an_image_share_one_pass(model, images):
    with torch.no_grad():
        model.features[4].bias[:] = 2.0  # the others are alive
        model.features[4].weight[[1, 2, 4]] = 0
        model.features[4].bias[[1, 2, 4]] = torch.tensor([-1.0, 0.3, -1.0])  # after the ReLU: 0, 0.3, 0
    expected = torch.stack([reference_score_cam(model, "features.5", image, 2) for image in images])
    seen = watch_inputs(model)
    maps = ScoreCAM(model, ["features.5"], batch_size=100)(images, target=2)
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-4, atol=1e-6)
    assert [len(inputs) for inputs in seen] == [4, 4 * (3 + 1)]
    assert (seen[1].flatten(1) == 0).all(dim=1).sum() == 4


def test_images_with_all_channels_constant_have_the_mean_as_map(images):
    model = Classifier().eval()
    nn.init.zeros_(model.features[3].weight)
    maps = ScoreCAM(model, ["features.5"])(images, target=0)
    activation = layer_output(model, "features.5", images[0])
    torch.testing.assert_close(maps, activation.mean().expand_as(maps))


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(1, [1, *[1] * 6] * 4), (4, [4, *[4] * 6]), (7, [4, 7, 7, 7, 3]), (100, [4, 24]), (None, [4, 24])],
)
def test_batch_size_bounds_the_masked_images_of_a_pass(batch_size, sizes, model, images):
    nn.init.uniform_(model.features[4].bias, 1, 2)  # no channel is dead
    targets = torch.tensor([0, 2, 1, 2])
    expected = torch.stack(
        [
            reference_score_cam(model, "features.5", image, int(target))
            for image, target in zip(images, targets, strict=True)
        ]
    )
    seen = watch_inputs(model)
    maps = ScoreCAM(model, ["features.5"], batch_size=batch_size)(images, target=targets)
    assert [len(inputs) for inputs in seen] == sizes
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_images_are_given_channels_last(channels, dtype):
    model = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype)
    seen = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.stride(1))))
    ScoreCAM(model, ["0"])(torch.rand(2, channels, 8, 9), target=1)
    assert seen == [(dtype, 1), (dtype, 1)]


def test_model_that_cannot_take_channels_last(images):
    class Views(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.features(images).view(len(images), -1)[:, :6])

    model = Views().eval()
    expected = reference_score_cam(model, "features.5", images[3], 1)
    torch.testing.assert_close(ScoreCAM(model, LAYERS)(images, target=1)[3, 2], expected, rtol=1e-4, atol=1e-6)


def test_passes_of_a_compiled_model_have_one_shape(model, images):
    nn.init.uniform_(model.features[4].bias, 1, 2)
    expected = ScoreCAM(model, ["features.5"])(images, target=1)
    torch.compiler.reset()
    shapes, graphs = [], []

    def backend(graph, inputs):
        graphs.append(graph)
        return lambda *args: (
            shapes.append(next(x.shape for x in args if x.shape[1:] == images.shape[1:])) or graph(*args)
        )

    compiled = torch.compile(model, backend=backend)
    maps = ScoreCAM(compiled, ["features.5"], batch_size=7)(images, target=1)
    assert shapes == [(7, 2, 8, 10)] * 4  # 24 masked images
    assert len(graphs) == 1
    torch.testing.assert_close(maps, expected)


def test_half_precision_changes_scores_and_little_else(model, images):
    expected = ScoreCAM(model, LAYERS)(images, target=1)
    for dtype, bound in ((torch.bfloat16, 0.02), (torch.float16, 0.005)):
        maps = ScoreCAM(copy.deepcopy(model).to(dtype), LAYERS)(images, target=1)
        assert 0 < (maps - expected).norm() / expected.norm() < bound


def test_products_are_rounded_once(images):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).bfloat16()
    seen = watch_inputs(model)
    images = images[:1].bfloat16()
    ScoreCAM(model, ["0"])(images, target=1)
    masks = channel_masks(layer_output(model, "0", images[0])[:, None], images.shape[2:])
    assert torch.equal(seen[1], (images.float() * masks).bfloat16())


def test_model_that_returns_its_input(images):
    activations = torch.rand(4, 5, 3, 4)
    scores = masked_scores(nn.Flatten(), images, activations, lambda logits, rows: logits[:, 7], batch_size=3)
    masks = channel_masks(activations.flatten(0, 1)[:, None], images.shape[2:])
    torch.testing.assert_close(scores, images[:, :1, 0, 7] * masks[:, 0, 0, 7].view(4, 5))


def test_model_that_changes_its_input(model, images):
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return self.model(images.sub_(0.5).mul_(2))

    before = images.clone()
    normalised = nn.Sequential(nn.BatchNorm2d(2, affine=False), model).eval()
    normalised[0].running_mean.fill_(0.5)
    normalised[0].running_var.fill_(0.25)
    normalised[0].eps = 0
    expected = ScoreCAM(normalised, ["1.features.5"])(images, target=1)
    torch.testing.assert_close(ScoreCAM(InPlace(), ["model.features.5"], batch_size=5)(images, target=1), expected)
    torch.testing.assert_close(images, before, rtol=0, atol=0)


def test_three_dimensional_images():
    model = nn.Sequential(nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 2))
    volumes = torch.rand(2, 1, 6, 7, 8)
    maps = ScoreCAM(model, ["1"], batch_size=4)(volumes, target=1)
    for volume, found in zip(volumes, maps, strict=True):
        activation = model[:2](volume[None])
        fine = F.interpolate(activation, size=(6, 7, 8), mode="trilinear", align_corners=False)[0]
        masks = [(f - f.min()) / (f.max() - f.min()) for f in fine]
        scores = torch.stack([model((volume * mask)[None])[0, 1] for mask in masks])
        coarse = (scores.softmax(0).view(1, 3, 1, 1, 1) * activation).sum(dim=1, keepdim=True)
        expected = F.interpolate(coarse, size=(6, 7, 8), mode="trilinear", align_corners=False)
        torch.testing.assert_close(found, expected[0])
