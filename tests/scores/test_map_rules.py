"""Rules from maps to masks: how maps are scaled for each, and the dense CRF by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camtools.cams import CfdCAM, GradCAM
from camtools.crf import DenseCRF
from camtools.scores.map_rules import masks_by_rule
from camtools.scores.map_scores import evaluate_cams
from camtools.scores.validation_maps import MappedSlices, ObjectSlices, object_slices
from tests.cam_classifiers import fake_method, one_logit_classifier
from tests.reference import metrics as reference


def square_maps(heights: list[float], calibrated: bool) -> MappedSlices:
    """A bright square on black, mapped to the square at the given heights."""
    square = torch.zeros(len(heights), 1, 12, 12)
    square[:, :, 4:9, 3:8] = 1
    slices = ObjectSlices("a", "a.nii.gz", tuple(range(len(heights))), square > 0, 0, square[0, 0])
    summed = square * torch.tensor(heights)[:, None, None, None]
    return MappedSlices("squares", slices, square, summed, calibrated)


def test_maps_are_divided_by_their_maximum_and_probabilities_are_min_max_scaled() -> None:
    summed = torch.tensor([[[[1.0, 2.0, 5.0]]], [[[0.0, 0.0, 0.0]]]])
    slices = square_maps([1.0], calibrated=False).slices
    one = MappedSlices("a", slices, summed, summed)
    assert torch.equal(one.maps, torch.tensor([[[[0.2, 0.4, 1.0]]], [[[0.0, 0.0, 0.0]]]]))
    assert torch.equal(one.probabilities, torch.tensor([[[[0.0, 0.25, 1.0]]], [[[0.0, 0.0, 0.0]]]]))
    assert torch.equal(MappedSlices("a", slices, summed, summed, calibrated=True).probabilities, summed)


@pytest.mark.parametrize(("calibrated", "shown"), [(True, [True, False]), (False, [True, True])])
def test_faint_maps_are_empty_only_where_their_height_says_something(
    blob_dataset: Path, calibrated: bool, shown: list[bool]
) -> None:
    # (max + min) / 2 is 0.4 and 0.075, and slices are empty below 0.1
    one = square_maps([0.8, 0.15], calibrated)
    masks = masks_by_rule(one, "crf", None, one_logit_classifier(blob_dataset))
    for mask, truth, visible in zip(masks, one.slices.masks, shown, strict=True):
        assert torch.equal(mask, truth & visible)


def test_crf_is_that_of_the_classifier_by_hand(blob_dataset: Path) -> None:
    classifier = one_logit_classifier(blob_dataset)
    crf = DenseCRF(bilateral_srgb=30, iterations=3, backend="torch")
    quality = evaluate_cams(replace(classifier, crf=crf), ["cfdcam", "gradcam"], ["crf"], "test", target=0)
    cfd, grad = CfdCAM(classifier.network, ["layer4"]), GradCAM(classifier.network, ["layer4"])
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"cfdcam": [], "gradcam": []}
    for item in classifier.splits["test"]:
        found = object_slices(classifier, item)
        assert found is not None
        slices, images = found
        gradients = grad(images, target=0)
        low, high = gradients.amin(dim=(2, 3), keepdim=True), gradients.amax(dim=(2, 3), keepdim=True)
        for name, maps in {"cfdcam": cfd(images, target=0), "gradcam": (gradients - low) / (high - low)}.items():
            masks = crf(images, maps)[:, 1] > 0.5
            pairs[name] += [(mask.numpy(), truth[0].numpy()) for mask, truth in zip(masks, slices.masks, strict=True)]
    assert [(one.method, one.rule, one.threshold) for one in quality.scores] == [
        ("cfdcam", "crf", None),
        ("gradcam", "crf", None),
    ]
    for one in quality.scores:
        pooled = reference.pooled(pairs[one.method])
        assert {key: getattr(one.counts, key) for key in pooled} == pytest.approx(pooled, abs=1e-6)
        distance = [reference.hd95(*pair, (1, 1)) for pair in pairs[one.method]]
        assert [scores.hd95_px for _, _, scores in one.slices] == pytest.approx(distance, abs=0.01)
        overlap = [reference.iou(*pair) for pair in pairs[one.method]]
        assert [scores.iou for _, _, scores in one.slices] == pytest.approx(overlap, abs=1e-6)
        assert one.iou == pytest.approx((np.mean(overlap), np.std(overlap)), abs=1e-6)


def test_views_under_crf_show_unit_maps_with_the_refined_mask(
    blob_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = one_logit_classifier(blob_dataset)
    name = fake_method(monkeypatch, "bright", lambda images: 7 * (images > 0.6).float())
    view = evaluate_cams(classifier, [name], ["crf", "otsu"], "test").views[0]
    values, mask, dice = view.overlays[name]
    assert set(values.unique().tolist()) == {0.0, 1.0}
    refined = DenseCRF(backend="torch")(view.image[None, None], values[None, None])
    assert torch.equal(mask, refined[0, 1] > 0.5)
    assert dice == pytest.approx(reference.dice(mask.numpy(), view.truth.numpy()), abs=1e-6)
    assert dice > 0.9
