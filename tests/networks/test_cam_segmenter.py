from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from monai.inferers import SliceInferer
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import ActivationMap, GradCAM, LTGradCAM
from camtools.fusion import layer_sum, normalize_min_max
from camtools.networks import VGG16CAM, CAMSegmenter
from camtools.thresholds import map_threshold, midpoint, otsu


class MeanClassifier(nn.Module):
    """Positive where the mean of the image exceeds 1; two logits or one."""

    def __init__(self, logits: int = 2) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.logits = logits
        self.passes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        score = self.body(images).mean(dim=(1, 2, 3))[:, None] - 1
        return score if self.logits == 1 else torch.cat([-score, score], dim=1)


class ImageAsMap(ActivationMap):
    """The image itself, once a layer."""

    def layer_maps(self, images: Tensor, target: Any) -> list[Tensor]:
        return [images for _ in self.layers]


def image_segmenter(logits: int = 2, layers: int = 1, batch_size: int | None = None, **options: Any) -> CAMSegmenter:
    return CAMSegmenter(ImageAsMap(MeanClassifier(logits), layers * ["body"], batch_size), **options)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


@pytest.fixture(scope="module")
def segmenter() -> CAMSegmenter:
    torch.manual_seed(0)
    model = VGG16CAM(width=0.0625, norm="batch", dilated=False).eval()
    return CAMSegmenter(LTGradCAM(model, model.cam_layers), gate=False)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (0.5, (0, 1, 2, 4), (-0.5, -0.25, 0, 0.5)),
        ("midpoint", (1, 2, 4, 5), (-0.4, -0.2, 0.2, 0.4)),
        # the threshold is the centre of the first of 256 bins, 8 * 0.5 / 256
        ("otsu", (0, 0, 8, 8), (-1 / 512, -1 / 512, 511 / 512, 511 / 512)),
    ],
)
def test_hand_computed(rule: Any, values: tuple[float, ...], expected: tuple[float, ...]) -> None:
    logits = image_segmenter(rule=rule)(row(*values))
    torch.testing.assert_close(logits, torch.cat([-row(*expected), row(*expected)], dim=1))


@pytest.mark.parametrize("rule", ["otsu", "midpoint", 0.3])
def test_arg_max_is_the_thresholded_map(segmenter: CAMSegmenter, images: Tensor, rule: Any) -> None:
    maps = segmenter.cam(images, target=1)
    thresholds = {"otsu": otsu(maps), "midpoint": midpoint(maps), 0.3: 0.3 * maps.amax(dim=(1, 2, 3))}[rule]
    torch.testing.assert_close(map_threshold(maps, rule), thresholds)
    mask = maps > thresholds[:, None, None, None]
    assert 0 < mask.float().mean() < 1
    logits = CAMSegmenter(segmenter.cam, rule=rule, gate=False)(images)
    assert logits.shape == (3, 2, 32, 48)
    assert logits.dtype == torch.float32
    assert torch.equal(logits.argmax(dim=1, keepdim=True) == 1, mask)
    assert torch.equal(logits[:, :1], -logits[:, 1:])


def test_interpolated_logits_threshold_the_interpolated_map(segmenter: CAMSegmenter, images: Tensor) -> None:
    def enlarge(values: Tensor) -> Tensor:
        return F.interpolate(values, size=(50, 77), mode="bilinear")

    maps = segmenter.cam(images, target=1)
    expected = enlarge(maps) / maps.amax(dim=(1, 2, 3), keepdim=True)
    expected -= (otsu(maps) / maps.amax(dim=(1, 2, 3)))[:, None, None, None]
    torch.testing.assert_close(enlarge(segmenter(images))[:, 1:], expected)


def test_batched_equals_single(segmenter: CAMSegmenter, images: Tensor) -> None:
    expected = torch.cat([segmenter(image[None]) for image in images])
    torch.testing.assert_close(segmenter(images), expected, rtol=1e-4, atol=1e-5)


def test_maps_of_several_layers_are_added(images: Tensor) -> None:
    torch.testing.assert_close(image_segmenter(layers=3, gate=False)(images), image_segmenter(gate=False)(images))
    model = VGG16CAM(width=0.0625, dilated=False).eval()
    cam = GradCAM(model, model.cam_layers[-2:])
    maps = layer_sum(cam(images, target=1))
    torch.testing.assert_close(
        CAMSegmenter(cam, gate=False)(images).argmax(dim=1), (maps > otsu(maps)[:, None, None, None])[:, 0].long()
    )


@pytest.mark.parametrize(("logits", "target"), [(2, 1), (1, 0)])
def test_gate_empties_images_the_classifier_calls_negative(logits: int, target: int) -> None:
    # means 0.5, 1.5 and 1: the last one has a probability of just 0.5
    images = torch.stack([row(0, 0, 0, 2)[0], row(0, 0, 3, 3)[0], row(1, 1, 2, 0)[0]])
    gated = image_segmenter(logits, rule=0.6, target=target)
    assert gated(images).argmax(dim=1)[:, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert torch.equal(gated(images)[[0, 2], 1], torch.full((2, 1, 4), -1.0))
    plain = image_segmenter(logits, rule=0.6, target=target, gate=False)
    assert plain(images).argmax(dim=1)[:, 0].tolist() == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 0]]


def test_gate_probability_is_of_the_target_class() -> None:
    bright, dark = row(0, 0, 3, 3), row(0, 0, 0, 2)
    other = image_segmenter(target=0)  # class 0: the mean is below 1
    assert other(bright).argmax() == 0
    assert other(dark).argmax(dim=1).sum() == 1


def test_gate_runs_in_the_chunks_of_the_map() -> None:
    segmenter = image_segmenter(batch_size=2)
    segmenter(torch.rand(5, 1, 4, 4))
    assert segmenter.classifier.passes == [2, 2, 1]


def test_map_of_zeros_gives_an_empty_mask() -> None:
    for rule in ("otsu", "midpoint", 0.5):
        logits = image_segmenter(rule=rule, gate=False)(torch.zeros(2, 1, 4, 4))
        assert torch.equal(logits[:, 1], torch.full((2, 4, 4), -1.0))


def soft(images: Tensor, maps: Tensor) -> Tensor:
    """A refinement by hand: the foreground's probability is half the map and an eighth of the image."""
    foreground = maps / 2 + images / 8
    return torch.cat([1 - foreground, foreground], dim=1)


@pytest.mark.parametrize("rule", ["otsu", 0.9])
def test_refined_probabilities_take_the_place_of_the_rule(rule: Any) -> None:
    logits = image_segmenter(rule=rule, gate=False, refine=soft)(row(0, 0.4, 0.8, 1.6))
    expected = row(-1, -0.5, 0, 1)  # 2 (1 / 2 + 1 / 8) image - 1
    torch.testing.assert_close(logits, torch.cat([-expected, expected], dim=1))


def test_maps_are_normalized_before_they_are_refined() -> None:
    images = torch.cat([row(1, 2, 3), row(0, 1, 4)])
    logits = image_segmenter(gate=False, refine=soft, normalize=normalize_min_max)(images)
    # maps (0, 1/2, 1) and (0, 1/4, 1)
    expected = torch.cat([row(-0.75, 0, 0.75), row(-1, -0.5, 1)])
    torch.testing.assert_close(logits[:, 1:], expected)
    assert torch.equal(logits[:, :1], -logits[:, 1:])


def test_refined_images_without_an_object_are_empty() -> None:
    images = torch.cat([row(0, 0, 0, 2), row(0, 0, 3, 3), row(1, 1, 2, 0)])  # the second one alone is called positive
    seen: list[Tensor] = []

    def certain(images: Tensor, maps: Tensor) -> Tensor:
        seen.append(images)
        return torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1).expand(len(images), -1, *images.shape[2:])

    logits = image_segmenter(refine=certain)(images)
    assert torch.equal(logits[:, 1, 0], torch.tensor([[-1.0], [1.0], [-1.0]]).expand(-1, 4))
    assert len(seen) == 1
    assert torch.equal(seen[0], images[1:2])
    zero = torch.cat([torch.zeros(1, 1, 1, 4), images[:1]])
    logits = image_segmenter(gate=False, refine=certain, normalize=normalize_min_max)(zero)
    assert torch.equal(logits[:, 1, 0], torch.tensor([[-1.0], [1.0]]).expand(-1, 4))


def test_empty_batch() -> None:
    for gate in (True, False):
        assert image_segmenter(gate=gate)(torch.zeros(0, 1, 4, 6)).shape == (0, 2, 4, 6)


def test_gradient_modes_and_training_mode_change_nothing(segmenter: CAMSegmenter, images: Tensor) -> None:
    segmenter = CAMSegmenter(segmenter.cam, rule=0.2, gate=True)
    nn.init.constant_(segmenter.classifier.classifier.bias, 0.0)
    expected = segmenter(images)
    with torch.no_grad():
        torch.testing.assert_close(segmenter(images), expected)
    with torch.inference_mode():
        torch.testing.assert_close(segmenter(images), expected)
    segmenter.train()
    torch.testing.assert_close(segmenter(images), expected)
    assert segmenter.classifier.training
    assert all(parameter.grad is None for parameter in segmenter.parameters())
    segmenter.eval()


def test_slice_inferer_segments_a_volume(segmenter: CAMSegmenter) -> None:
    volume = torch.rand(1, 1, 32, 48, 5, generator=torch.Generator().manual_seed(2))
    inferer = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2)
    with torch.no_grad():
        logits = inferer(volume, segmenter)
    expected = segmenter(volume[0].movedim(-1, 0)).movedim(0, -1)[None]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_state_dictionary_is_the_classifiers(segmenter: CAMSegmenter, images: Tensor) -> None:
    state = segmenter.classifier.state_dict()
    assert list(segmenter.state_dict()) == list(state)
    model = VGG16CAM(width=0.0625, norm="batch", dilated=False)
    other = CAMSegmenter(LTGradCAM(model, model.cam_layers), gate=False).eval()
    assert not torch.equal(other(images), segmenter(images))
    other.load_state_dict(segmenter.state_dict())
    torch.testing.assert_close(other(images), segmenter(images))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"features.0.weight\""):
        other.load_state_dict({})
    assert "features.0.weight" in other.load_state_dict({}, strict=False).missing_keys
    assert [name.split(".")[0] for name, _ in other.named_parameters()] == ["classifier"] * len(
        list(model.parameters())
    )


def test_copy_has_a_classifier_of_its_own(segmenter: CAMSegmenter, images: Tensor) -> None:
    expected = segmenter(images)
    other = copy.deepcopy(segmenter)
    assert other.cam.model is other.classifier
    assert other.classifier is not segmenter.classifier
    nn.init.normal_(other.classifier.features[0].weight)
    assert not torch.equal(other(images), expected)
    torch.testing.assert_close(segmenter(images), expected)


@pytest.mark.parametrize("rule", ["auto", 0, 1.0, -0.2, float("nan"), None])
def test_rule_is_checked(rule: Any) -> None:
    message = "expected rule 'otsu', 'midpoint' or a fraction of the map's maximum between 0 and 1, found"
    with pytest.raises(ValueError, match=message):
        image_segmenter(rule=rule)
    with pytest.raises(ValueError, match=message):
        map_threshold(row(1, 2), rule)


def test_maps_are_checked() -> None:
    for rule in ("otsu", 0.5):
        with pytest.raises(ValueError, match=r"expected maps of shape \(B, 1, H, W\), found \(1, 2, 3, 3\)"):
            map_threshold(torch.zeros(1, 2, 3, 3), rule)
        with pytest.raises(ValueError, match="expected finite maps, found NaN or infinity"):
            map_threshold(row(1, float("nan")), rule)


@pytest.mark.parametrize(("logits", "target"), [(1, 1), (2, 2), (2, -1)])
def test_target_is_checked(logits: int, target: int) -> None:
    with pytest.raises(
        ValueError, match=rf"expected target in 0..{logits - 1} for a model with {logits} logits, found {target}"
    ):
        image_segmenter(logits, target=target)(row(1, 2))
