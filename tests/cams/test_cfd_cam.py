from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import CfdCAM, confidence_weights
from camtools.cams.masks import channel_masks, channel_ranges
from camtools.cams.representatives import channel_vectors, predicted_confidences, representative_channels
from tests.cam_models import LAYERS, Classifier
from tests.reference.perturbation_maps import (
    reference_cfd_cam,
    reference_confidence_weights,
    reference_predicted_confidences,
)


@pytest.fixture
def model() -> Classifier:
    model = Classifier().eval()
    with torch.no_grad():
        model.head.weight.mul_(20)  # confidences that differ, on both sides of the blank image's
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 2, 8, 10)


@pytest.mark.parametrize("scale_by_confidence", [True, False])
@pytest.mark.parametrize("scales", [(1.0,), (2.0,), (1.0, 2.0), (0.5, 1.3)])
def test_maps_match_reference(scales, scale_by_confidence, model, images):
    model, images = model.double(), images.double()
    targets = torch.tensor([0, 2, 1])
    layers = ["features.0", *LAYERS]  # the first has negative activations
    cam = CfdCAM(model, layers, scales=scales, scale_by_confidence=scale_by_confidence)
    maps = cam(images, target=targets)
    assert maps.shape == (3, 4, 8, 10)
    for b, image in enumerate(images):
        for m, layer in enumerate(layers):
            expected = reference_cfd_cam(model, layer, image, int(targets[b]), scales, scale_by_confidence)
            torch.testing.assert_close(maps[b, m], expected.float(), rtol=1e-5, atol=1e-6)
    assert (maps.amax(dim=(0, 2, 3)) > 0).all()


def test_one_logit_is_a_sigmoid(images):
    model = Classifier(classes=1).eval()
    maps = CfdCAM(model, ["features.5"])(images)
    expected = reference_cfd_cam(model, "features.5", images[1], 0, (1.0, 2.0), scale_by_confidence=True)
    torch.testing.assert_close(maps[1, 0], expected, rtol=1e-4, atol=1e-5)


def test_weights_of_the_papers_figure():
    logits = torch.tensor([[7.8, 10.0, -1.6]])  # figure 2: softmax gives 0.09, 0.90, 0.00
    weights = confidence_weights(logits.sigmoid(), torch.tensor([0.5]))
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]]), rtol=0, atol=1e-3)


def test_weights_match_reference_and_no_trusted_channel_leaves_none():
    confidence, blank = torch.rand(5, 7, dtype=torch.float64), torch.tensor([0.3, 0.0, 0.2, 0.5, 1.0]).double()
    weights = confidence_weights(confidence, blank)
    for row, own, lowest in zip(weights, confidence, blank, strict=True):
        assert row.tolist() == pytest.approx(reference_confidence_weights(own.tolist(), float(lowest)))
    assert weights[:4].sum(dim=1).tolist() == pytest.approx([1] * 4)
    assert not weights[4].any()


def test_a_channel_as_confident_as_the_blank_image_is_trusted():
    weights = confidence_weights(torch.tensor([[0.25, 0.25, 0.2]]), torch.tensor([0.25]))
    assert weights.tolist() == [[0.5, 0.5, 0.0]]


def test_map_is_zero_when_every_mask_makes_the_classifier_doubt(images):
    class Doubts(nn.Module):
        """One channel, the image itself; the brighter the image, the less likely the class."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return -self.layer(images).mean(dim=(1, 2, 3))

    assert not CfdCAM(Doubts(), ["layer"])(images[:, :1]).any()


def test_arg_max_of_the_first_scale_is_the_target_of_all(model, images):
    model.register_forward_hook(
        lambda module, inputs, logits: logits + torch.tensor([9e3, 0, 0]) * (inputs[0].shape[2] > 8)
    )
    target = model(images).argmax(dim=1)
    assert target.any()
    cam = CfdCAM(model, ["features.5"], scales=(1.0, 2.0))
    torch.testing.assert_close(cam(images), cam(images, target=target))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batch_size_bounds_every_pass(batch_size, model, images):
    expected = CfdCAM(model, ["features.5"])(images, target=1)
    sizes = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    torch.testing.assert_close(CfdCAM(model, ["features.5"], batch_size=batch_size)(images, target=1), expected)
    assert max(sizes) <= batch_size


def test_passes_stay_in_float32_without_bfloat16_in_hardware(model, images, monkeypatch):
    monkeypatch.setattr("camtools.precision.computes_in", lambda dtype, device: False)
    exact = CfdCAM(model, ["features.5"], scales=(1.0,))(images, target=1)
    same = CfdCAM(model, ["features.5"], scales=(1.0,), scoring_dtype=torch.bfloat16)(images, target=1)
    assert torch.equal(same, exact)


@pytest.mark.usefixtures("bfloat16_in_hardware")
def test_bfloat16_passes_change_little_and_leave_the_image_alone(model, images):
    seen = []
    model.features[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    exact = CfdCAM(model, ["features.5"], scales=(1.0,))(images, target=1)
    assert set(seen) == {torch.float32}
    seen.clear()
    rounded = CfdCAM(model, ["features.5"], scales=(1.0,), scoring_dtype=torch.bfloat16)(images, target=1)
    assert seen[0] == torch.float32
    assert set(seen[1:]) == {torch.bfloat16}
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=2e-2)
    assert not torch.equal(rounded, exact)


def test_masked_passes_of_a_compiled_model_run_compiled(model, images):
    expected = CfdCAM(model, ["features.5"], scales=(1.0,))(images, target=1)
    torch.compiler.reset()
    graphs, calls = [], []

    def backend(graph, inputs):
        graphs.append(graph)
        return lambda *args: calls.append(1) or graph(*args)

    compiled = torch.compile(model, backend=backend)
    cam = CfdCAM(compiled, ["features.5"], scales=(1.0,), batch_size=6)
    torch.testing.assert_close(cam(images, target=1), expected)
    assert len(graphs) == 1  # one shape: the blank image is scored uncompiled
    assert len(calls) == 3


def test_a_share_of_the_channels_is_scored(model, images):
    nn.init.uniform_(model.features[4].bias, 1, 2)  # no channel is dead
    scored = []
    model.register_forward_pre_hook(lambda module, inputs: scored.append(len(inputs[0])))
    exact = CfdCAM(model, ["features.5"], scales=(1.0,))(images, target=1)
    assert sum(scored) == 3 + 1 + 3 * 6
    scored.clear()
    maps = CfdCAM(model, ["features.5"], scales=(1.0,), channel_share=0.5)(images, target=1)
    assert sum(scored) == 3 + 1 + 3 * 3
    assert not torch.equal(maps, exact)


def test_copies_of_a_channel_need_one_pass():
    """A layer of three channels and their copies: half of the channels give nearly the exact map."""
    model = Classifier().eval()
    with torch.no_grad():
        nn.init.uniform_(model.features[4].bias, 1, 2)
        nn.init.uniform_(model.head.weight[1], 1, 2)  # any mask is well above a blank image
        for parameter in (*model.features[3].parameters(), *model.features[4].parameters()):
            parameter[3:] = parameter[:3]
        for statistics in (model.features[4].running_mean, model.features[4].running_var):
            statistics[3:] = statistics[:3]
    images = torch.rand(3, 2, 8, 10)
    exact = CfdCAM(model, ["features.5"])(images, target=1)
    nearly = CfdCAM(model, ["features.5"], channel_share=0.5)(images, target=1)
    torch.testing.assert_close(nearly, exact, rtol=0, atol=5e-3)


def test_representatives_are_the_farthest_masks():
    masks = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.0], [0.45, 0.45]])
    assert representative_channels(masks[None], share=0.5).tolist() == [[4, 0, 2]]  # the middle one, then the farthest


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.2, 1), (0.21, 2), (0.5, 3), (1.0, 5)])
def test_share_is_rounded_up(share, count):
    chosen = representative_channels(torch.rand(2, 5, 9), share)
    assert chosen.shape == (2, count)
    assert all(len(set(row)) == count for row in chosen.tolist())


def test_vectors_are_the_masks_at_the_resolution_of_the_layer():
    activations = torch.rand(2, 4, 3, 5)
    ranges = channel_ranges(activations, activations.shape[2:], chunk=3)
    masks = channel_masks(activations.flatten(0, 1)[:, None], activations.shape[2:])
    torch.testing.assert_close(channel_vectors(activations, ranges), masks.view(2, 4, 15))


def test_prediction_matches_reference():
    vectors, confidence = torch.rand(3, 7, 4).double(), torch.rand(3, 3).double()
    chosen = torch.tensor([[0, 3, 5], [6, 1, 2], [4, 0, 1]])
    predicted = predicted_confidences(vectors, chosen, confidence)
    for b in range(3):
        expected = reference_predicted_confidences(vectors[b], chosen[b].tolist(), confidence[b].tolist())
        assert predicted[b].tolist() == pytest.approx(expected, rel=1e-6)


def test_prediction_from_one_channel_or_equal_masks_is_its_mean():
    vectors = torch.rand(1, 4, 6)
    assert predicted_confidences(vectors, torch.tensor([[2]]), torch.tensor([[0.3]]))[0].tolist() == pytest.approx(
        [0.3] * 4
    )
    same = predicted_confidences(torch.ones(1, 4, 6), torch.tensor([[0, 1]]), torch.tensor([[0.3, 0.7]]))
    assert same[0].tolist() == pytest.approx([0.3, 0.7, 0.5, 0.5])


def test_prediction_of_certain_channels_is_finite():
    predicted = predicted_confidences(torch.rand(1, 5, 6), torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 1.0, 1.0]]))
    assert predicted.isfinite().all()
    assert predicted[0, :3].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scales": ()}, r"expected one or more scales > 0, found \(\)"),
        ({"scales": (1.0, 0.0)}, r"expected one or more scales > 0, found \(1.0, 0.0\)"),
        ({"channel_share": 0.0}, r"expected channel_share in \(0, 1\], found 0.0; 1 gives the exact map"),
        ({"channel_share": 1.5}, r"expected channel_share in \(0, 1\], found 1.5"),
    ],
)
def test_wrong_arguments_are_named(wrong, message, model):
    with pytest.raises(ValueError, match=message):
        CfdCAM(model, LAYERS, **wrong)


def test_three_dimensional_images():
    model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    model[0].weight.data.abs_()  # the brighter the image, the more confident
    maps = CfdCAM(model, ["0"], scale_by_confidence=False)(torch.rand(2, 1, 4, 5, 6), target=1)
    assert maps.shape == (2, 1, 4, 5, 6)
    assert maps.amax() > 0
