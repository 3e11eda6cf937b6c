"""From a classifier and its volumes to a choice."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from camtools.scores.classifier import TrainedClassifier
from camtools.tuning import TuningSettings, default_choice, tune_masks
from camtools.tuning.evidence import rank_agreement
from tests.cam_classifiers import one_logit_classifier, tiny_classifier
from tests.conftest import write_dataset

FEW = TuningSettings(
    methods=["gradcam"], thresholds=[0.3, 0.6], refinements=[{"refinement": "crf", "iterations": 1}], steps=[0.0],
    maps=1, finalists=1, sample=3, evidence_slices=2, resamples=50,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("tuning") / "data", {"training": 1, "validation": 3, "test": 1})


def with_validation(classifier: TrainedClassifier, items: list[dict[str, Any]]) -> TrainedClassifier:
    return replace(classifier, splits={"validation": items})


def test_masks_choose(dataset: Path) -> None:
    classifier = tiny_classifier(dataset)
    tuning = tune_masks(classifier, FEW)
    search = tuning.search
    assert search is not None
    assert tuning.choice == search.choice
    assert [key.case for key in tuning.slices] == [
        item["case"] for item in classifier.splits["validation"] for _ in "ab"
    ]
    assert len(search.folds) == 3
    assert len(tuning.evidence) == len(tuning.maps)
    means = search.table.by_patient().mean(axis=0)
    dice = [means[search.table.number(one)] for one in tuning.maps]
    assert {one.threshold for one in tuning.maps} == {"otsu"}
    assert tuning.agreement == rank_agreement(tuning.evidence, dice)
    again = tune_masks(classifier, FEW)
    assert again.choice == tuning.choice
    assert again.evidence == tuning.evidence
    assert tune_masks(classifier, replace(FEW, evidence_slices=0)).agreement is None


def test_patients_are_those_of_the_dataset(dataset: Path) -> None:
    classifier = tiny_classifier(dataset)
    items = [item | {"patient": "one"} for item in classifier.splits["validation"]]
    search = tune_masks(with_validation(classifier, items), FEW).search
    assert search is not None
    assert search.table.patients == ["one"]
    assert search.folds == ()
    search = tune_masks(classifier, replace(FEW, patient=r"case_(\d)")).search
    assert search is not None
    assert search.table.patients == ["1", "2", "3"]


def test_without_masks_the_default_is_taken(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = one_logit_classifier(dataset)
    tags = [0, 0, 1, 1, 0, 0]
    bare = [{"image": item["image"], "slice_labels": tags} for item in classifier.splits["validation"]]
    with caplog.at_level(logging.WARNING, logger="camtools"):
        tuning = tune_masks(with_validation(classifier, bare), FEW, target=0)
    assert "no validation volume has a mask, the default is taken and maps are ranked without masks" in caplog.text
    assert tuning.search is None
    assert tuning.agreement is None
    assert tuning.choice == default_choice(classifier.network)
    assert len(tuning.evidence) == len(tuning.maps) == 14
    assert len(tuning.slices) == 6


def test_without_anything_the_default_is_taken(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = tiny_classifier(dataset)
    for items in ([], [{"image": classifier.splits["validation"][0]["image"]}]):
        tuning = tune_masks(with_validation(classifier, items))
        assert tuning.choice == default_choice(classifier.network)
        assert (tuning.slices, tuning.evidence) == ([], [])
    assert "no validation volume has masks or tags, the default is taken" in caplog.text


def test_items_without_a_mask_do_not_choose(dataset: Path) -> None:
    classifier = tiny_classifier(dataset)
    first, second, third = classifier.splits["validation"]
    items = [first, {"image": second["image"], "case": "bare", "slice_labels": [0, 1, 1, 0, 0, 0]}, third]
    search = tune_masks(with_validation(classifier, items), replace(FEW, evidence_slices=0)).search
    assert search is not None
    assert {key.case for key in search.table.keys} == {first["case"], third["case"]}


@pytest.mark.parametrize("split", ["training", "test", "holdout"])
def test_other_splits_are_refused(dataset: Path, split: str) -> None:
    with pytest.raises(ValueError, match=f"split: expected 'validation', found '{split}'. Masks of training volumes"):
        tune_masks(tiny_classifier(dataset), FEW, split=split)


def test_masks_of_other_splits_are_not_read(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from camtools.scores import validation_maps

    seen: list[str] = []
    read = validation_maps.read_mask

    def noted(path: str) -> Any:
        seen.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(validation_maps, "read_mask", noted)
    tune_masks(tiny_classifier(dataset), replace(FEW, evidence_slices=0))
    assert sorted(set(seen)) == ["case_1.nii.gz", "case_2.nii.gz", "case_3.nii.gz"]
