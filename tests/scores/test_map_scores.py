"""Scores of activation maps: which thresholds, and the numbers against slow references."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from tqdm import tqdm

from camtools.data import load_datalist
from camtools.fusion import normalize_max
from camtools.scores.map_methods import build_cams
from camtools.scores.map_scores import evaluate_cams
from camtools.scores.validation_maps import mapped_slices, object_slices
from tests.cam_classifiers import fake_method, tiny_classifier
from tests.conftest import write_dataset
from tests.reference import metrics as reference
from tests.reference.thresholds import reference_search_dice


def shifted(images: torch.Tensor) -> torch.Tensor:
    return images.roll((3, -2), dims=(2, 3)) ** 2


def pair_of_sizes(folder: Path) -> list[dict[str, Any]]:
    """Two volumes with slices of different sizes."""
    write_dataset(folder / "a", {"validation": 1})
    write_dataset(folder / "b", {"validation": 1}, shape=(28, 40, 5))
    return load_datalist(folder / "a", "validation") + load_datalist(folder / "b", "validation")


def test_progress_moves_with_each_method_of_each_volume(blob_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tqdm[Any]] = []

    def shown_bar(**options: Any) -> tqdm[Any]:
        bars.append(tqdm(**(options | {"disable": False, "file": StringIO()})))
        return bars[-1]

    monkeypatch.setattr("camtools.scores.validation_maps.tqdm", shown_bar)
    classifier = tiny_classifier(blob_dataset)
    first, second = classifier.splits["test"]
    items = [first, first | {"slice_labels": [1, 0, 0, 0, 0, 0]}, second]  # the second item has nothing to score
    classifier = replace(classifier, splits={"test": items})
    seen = []
    for one in mapped_slices(classifier, build_cams(["gradcam", "layercam-5"], classifier.network), "test"):
        assert bars[0].postfix == f"{one.slices.case}, {one.method}"
        seen.append((one.slices.case, one.method, bars[0].n, bars[0].total))
    assert seen == [
        ("images/case_5", "gradcam", 1, 6),
        ("images/case_5", "layercam-5", 2, 6),
        ("images/case_6", "gradcam", 5, 6),
        ("images/case_6", "layercam-5", 6, 6),
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_match_the_slow_references(blob_dataset: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    name = fake_method(monkeypatch, "shifted", shifted)
    classifier = tiny_classifier(blob_dataset)
    quality = evaluate_cams(classifier, [name], ["otsu", "midpoint"], split)
    prepared = [object_slices(classifier, item) for item in classifier.splits[split]]
    slices = [
        (found[0].case, index, (cam / cam.max()).numpy(), mask[0].numpy())
        for found in prepared
        if found is not None
        for index, cam, mask in zip(found[0].indices, shifted(found[1])[:, 0], found[0].masks, strict=True)
    ]
    rules = {"otsu": threshold_otsu, "midpoint": lambda cam: (cam.max() + cam.min()) / 2}
    assert [(one.method, one.rule, one.threshold) for one in quality.scores] == [(name, rule, None) for rule in rules]
    for one in quality.scores:
        pairs = [(cam > rules[one.rule](cam), mask) for _, _, cam, mask in slices]
        pooled = reference.pooled(pairs)
        assert {key: getattr(one.counts, key) for key in pooled} == pytest.approx(pooled, abs=1e-4)
        assert [(case, index) for case, index, _ in one.slices] == [(case, index) for case, index, _, _ in slices]
        dice = [reference.dice(*pair) for pair in pairs]
        distance = [reference.hd95(*pair, (1, 1)) for pair in pairs]
        assert [scores.dice for _, _, scores in one.slices] == pytest.approx(dice, abs=1e-3)
        assert one.dice == pytest.approx((np.mean(dice), np.std(dice)), abs=1e-3)
        overlap = [reference.iou(*pair) for pair in pairs]
        assert one.iou == pytest.approx((np.mean(overlap), np.std(overlap)), abs=1e-3)
        assert one.hd95 == pytest.approx((np.mean(distance), np.std(distance)), abs=0.01)


def test_searched_threshold_is_that_of_the_validation_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = fake_method(monkeypatch, "shifted", shifted)
    classifier = tiny_classifier(write_dataset(tmp_path / "data", {"validation": 1, "test": 1}))
    classifier = replace(classifier, splits={**classifier.splits, "validation": pair_of_sizes(tmp_path)})
    maps, masks = [], []
    for item in classifier.splits["validation"]:
        found = object_slices(classifier, item)
        assert found is not None
        maps += list(normalize_max(shifted(found[1])))
        masks += list(found[0].masks)
    candidates = [k / 20 for k in range(1, 20)]
    expected = reference_search_dice(maps, masks, candidates)  # type: ignore[arg-type]
    for split in ("validation", "test"):
        (one,) = evaluate_cams(classifier, [name], ["search"], split).scores
        assert one.threshold == expected
        assert len(one.slices) == (4 if split == "validation" else 2)
    (one,) = evaluate_cams(classifier, [name], ["search"], "validation").scores
    dice = [reference.dice((cam[0] > expected).numpy(), mask[0].numpy()) for cam, mask in zip(maps, masks, strict=True)]
    assert one.dice[0] == pytest.approx(np.mean(dice), abs=1e-6)


def test_volumes_are_prepared_once_for_all_methods(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    seen: list[str] = []

    def prepare(data: dict[str, Any]) -> Any:
        seen.append(Path(data["image"]).name)
        assert "label" not in data
        return classifier.prepare(data)

    counting = replace(classifier, prepare=prepare)
    evaluate_cams(counting, ["gradcam", "layercam-5"], ["otsu", "search"], "validation")
    assert seen == ["case_3.nii.gz", "case_4.nii.gz"]
    seen.clear()
    quality = evaluate_cams(counting, ["gradcam", "layercam-5", "gradcam"], ["otsu", "search", "otsu"], "test")
    assert seen == [f"case_{number}.nii.gz" for number in (3, 4, 5, 6)]
    lines = [(one.method, one.rule) for one in quality.scores]
    assert lines == [(method, rule) for method in ("gradcam", "layercam-5") for rule in ("otsu", "search")]


def test_target_is_the_class_that_is_explained(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    views = [evaluate_cams(classifier, ["gradcam++"], ["otsu"], target=target).views[0] for target in (0, 1)]
    assert not torch.equal(views[0].overlays["gradcam++"][0], views[1].overlays["gradcam++"][0])


def test_what_cannot_be_scored_is_named(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    with pytest.raises(ValueError, match=r"split: expected validation or test, found 'training', whose masks give"):
        evaluate_cams(classifier, ["gradcam"], split="training")
    with pytest.raises(ValueError, match=r"split: expected one of validation, test, found 'holdout'"):
        evaluate_cams(classifier, ["gradcam"], split="holdout")
    with pytest.raises(ValueError, match=r"rules: expected some of otsu, midpoint, search, crf, found magic"):
        evaluate_cams(classifier, ["gradcam"], ["otsu", "magic"])
    bare = [{"image": item["image"], "slice_labels": [0, 0, 1, 1, 0, 0]} for item in classifier.splits["test"]]
    without = replace(classifier, splits={**classifier.splits, "test": bare})
    with pytest.raises(ValueError, match=r"Split 'test': expected volumes with a mask .*, found none in 2 volumes"):
        evaluate_cams(without, ["gradcam"], split="test")
    negative = [item | {"slice_labels": [0] * 6} for item in classifier.splits["test"]]
    without = replace(classifier, splits={**classifier.splits, "test": negative})
    with pytest.raises(ValueError, match=r"Split 'test': expected slices that show the object, found none"):
        evaluate_cams(without, ["gradcam"], ["otsu"], split="test")


def test_items_without_a_mask_are_passed_over(blob_dataset: Path) -> None:
    classifier = tiny_classifier(blob_dataset)
    first, second = classifier.splits["test"]
    mixed = replace(classifier, splits={"test": [{"image": first["image"]}, second]})
    (one,) = evaluate_cams(mixed, ["gradcam"], ["otsu"], "test").scores
    assert {case for case, _, _ in one.slices} == {"images/case_6"}


def test_views_show_the_first_rule_on_the_middle_slice_of_a_few_cases(
    blob_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny_classifier(blob_dataset)
    items = [item | {"case": f"{item['case']} {k}"} for k in range(4) for item in classifier.splits["test"]]
    classifier = replace(classifier, splits={**classifier.splits, "test": items})
    quality = evaluate_cams(
        classifier, ["gradcam", fake_method(monkeypatch, "flat", torch.ones_like)], ["midpoint"], "test"
    )
    assert len(quality.views) == 6
    assert len(quality.scores[0].slices) == 16
    view = quality.views[0]
    found = object_slices(classifier, items[0])
    assert found is not None
    assert (view.slice_index, list(view.overlays)) == (3, ["gradcam", "flat"])
    assert torch.equal(view.truth, found[0].masks[1, 0])
    values, mask, dice = view.overlays["gradcam"]
    assert torch.equal(mask, values > (values.max() + values.min()) / 2)
    assert dice == quality.scores[0].slices[1][2].dice
    assert not view.overlays["flat"][1].any()
