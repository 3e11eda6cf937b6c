"""Slices and maps of a tuning against the CAM objects themselves."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from camtools.cams import LTLayerCAM
from camtools.data import DataError
from camtools.networks import Ensemble, members_of
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.validation_maps import object_slices
from camtools.tuning import METHODS, choice_cam, fused_map
from camtools.tuning.maps import spool_maps
from camtools.tuning.methods import map_choices
from camtools.tuning.settings import TuningSettings
from camtools.tuning.slices import PreparedSlices, item_patients, prepared_slices
from tests.cam_classifiers import tiny_classifier, tiny_network

CPU = torch.device("cpu")


def prepared(classifier: TrainedClassifier) -> list[PreparedSlices]:
    items = list(classifier.splits["validation"])
    return list(prepared_slices(classifier, items, item_patients(items)))


def check_maps(classifier: TrainedClassifier, names: list[str], settings: TuningSettings) -> None:
    network = classifier.network
    spooled = spool_maps(prepared(classifier), names, network, 1, CPU, settings)
    assert spooled.methods == names
    (part, _) = spooled.parts
    for name in names:
        for choice in map_choices(name, network, mirrored=settings.mirrored, scales=settings.scales)[-2:]:
            expected = fused_map(choice_cam(choice, network)(part.slices.images, target=1), choice.fusion)
            fused = part.maps[name].fused(choice, None, CPU)
            torch.testing.assert_close(fused, expected, rtol=0, atol=3e-3)
            torch.testing.assert_close(part.maps[name].fused(choice, torch.tensor([1]), CPU), fused[1:2])


@pytest.mark.parametrize(("mirrored", "scales"), [(False, (1.0,)), (True, (1.0,)), (False, (1.0, 1.5))])
def test_every_map_is_that_of_its_choice(blob_dataset: Path, mirrored: bool, scales: tuple[float, ...]) -> None:
    names = [name for name, one in METHODS.items() if one.passes < 2]
    check_maps(tiny_classifier(blob_dataset), names, TuningSettings(mirrored=mirrored, scales=scales))


def test_maps_of_an_ensemble(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    ensemble = Ensemble(tiny_network, 2, average="logits").eval()
    layers = members_of(ensemble)[0].cam_layers
    names = ["gradcam", "layercam", "ltgradcam", "fullgrad"]
    check_maps(replace(classifier, network=ensemble), names, TuningSettings(layers=layers))  # type: ignore[arg-type]


def test_named_layers_replace_the_stages(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    layers = classifier.network.cam_layers[1:3]  # type: ignore[index]
    settings = TuningSettings(layers=layers)
    spooled = spool_maps(prepared(classifier), ["layercam"], classifier.network, 1, CPU, settings)
    assert next(iter(spooled.parts)).maps["layercam"].layers == tuple(layers)
    assert {layer for one in map_choices("layercam", classifier.network, layers) for layer in one.layers} == set(layers)


def test_the_sum_of_lt_maps_is_the_published_method(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    network = classifier.network
    spooled = spool_maps(prepared(classifier), ["ltlayercam"], network, 1, CPU)
    choice = map_choices("ltlayercam", network)[-1]
    assert choice.fusion == "layer_sum"
    part = next(iter(spooled.parts))
    published = LTLayerCAM(network, network.cam_layers, percentile=20)(part.slices.images, target=1)  # type: ignore[arg-type]
    torch.testing.assert_close(
        part.maps["ltlayercam"].fused(choice, None, CPU), fused_map(published), rtol=0, atol=3e-3
    )


def test_slices_are_those_that_evaluate_cams_scores(blob_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_classifier(blob_dataset)
    monkeypatch.setattr("camtools.tuning.slices.PART", 1)
    found = prepared(classifier)
    assert [part.ends_volume for part in found] == [False, True, False, True]
    assert [(part.keys[0].case, part.keys[0].index) for part in found] == [
        (case, index) for case in ("images/case_3", "images/case_4") for index in (2, 3)
    ]
    expected = object_slices(classifier, classifier.splits["validation"][0])
    assert expected is not None
    assert torch.equal(torch.cat([part.images for part in found[:2]]), expected[1])
    assert torch.equal(torch.cat([part.masks for part in found[:2]]), expected[0].masks)  # type: ignore[misc]


def test_slices_without_masks_are_those_with_tags(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    image = classifier.splits["validation"][0]["image"]
    items = [{"image": image, "slice_labels": [0, 0, 0, 1, 1, 1]}, {"image": image, "slice_labels": [0] * 6}]
    (part,) = prepared_slices(classifier, items, ["a", "b"])
    assert part.masks is None
    assert [key.index for key in part.keys] == [3, 4, 5]
    whole = classifier.prepare({"image": image})["image"]
    assert torch.equal(part.images[0, 0], whole.as_tensor()[0, ..., 3])


def test_patients_by_dataset_or_pattern() -> None:
    items = [{"image": "p1_a.nii", "patient": "one"}, {"image": "p1_b.nii"}]
    assert item_patients(items) == ["one", "p1_b"]
    assert item_patients(items, r"(p\d)_") == ["p1", "p1"]
    with pytest.raises(DataError, match="Expected a patient in every name by the pattern 'x', found none in 2 of 2"):
        item_patients(items, "x")


def test_a_method_that_does_not_fit_is_left_out(blob_dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = tiny_classifier(blob_dataset)
    network = classifier.network
    network.cam_layers = network.cam_layers[:2]  # type: ignore[union-attr, operator, index]
    with caplog.at_level(logging.WARNING, logger="camtools"):
        spooled = spool_maps(prepared(classifier), ["cam", "gradcam"], network, 1, CPU)
    assert spooled.methods == ["gradcam"]
    assert "tune: cam is left out, because it does not fit the classifier: expected" in caplog.text
    with pytest.raises(ValueError, match="methods: expected one that fits the classifier, found none in cam"):
        spool_maps(prepared(classifier), ["cam"], network, 1, CPU)
    with pytest.raises(ValueError, match="Expected slices that show the object, found none to tune on"):
        spool_maps([], ["gradcam"], network, 1, CPU)
