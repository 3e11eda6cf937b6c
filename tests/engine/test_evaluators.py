"""Scores on validation items that choose the epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import Dataset
from monai.inferers import SliceInferer
from torch import nn

from camtools.data import SliceDataset, Splits, load_datalist
from camtools.engine import slice_evaluator, volume_evaluator
from camtools.engine.evaluators import right_tags
from camtools.transforms import PrepareVolumed


class Brightness(nn.Module):
    """Two logits of a slice, or of each pixel: positive where it is brighter than a level."""

    def __init__(self, level: float, per_pixel: bool) -> None:
        super().__init__()
        self.level, self.per_pixel = level, per_pixel

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.cat([torch.zeros_like(images), images - self.level], dim=1)
        return logits if self.per_pixel else logits.amax(dim=(2, 3))


@pytest.mark.parametrize(
    ("logits", "tags", "expected"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], [1, 1], [True, False]),
        ([[0.5], [-0.5], [-0.5]], [[1.0], [1.0], [0.0]], [True, False, True]),
        ([[1.0, -1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], [True, False]),
    ],
    ids=["classes", "one logit", "several tags"],
)
def test_right_tags_of_every_kind_of_classifier(
    logits: list[list[float]], tags: list[object], expected: list[bool]
) -> None:
    assert right_tags(torch.tensor(logits), torch.tensor(tags)).tolist() == expected


def test_accuracy_counts_slices(blob_dataset: Path) -> None:
    listed = load_datalist(blob_dataset, "validation")
    dataset = SliceDataset(listed, PrepareVolumed(), splits=Splits(validation=listed))
    brightest = [float(dataset[k]["image"].max()) for k in range(len(dataset))]
    tags = [int(dataset[k]["tag"]) for k in range(len(dataset))]
    for level in (180.0, -1.0):
        evaluator = slice_evaluator(Brightness(level, per_pixel=False), "cpu", dataset, batch_size=5)
        assert evaluator is not None
        evaluator.run()
        expected = sum((value > level) == bool(tag) for value, tag in zip(brightest, tags, strict=True)) / len(tags)
        assert evaluator.state.metrics["accuracy"] == pytest.approx(expected)
        assert evaluator.state.key_metric_name == "accuracy"


def test_dice_is_of_whole_volumes_and_takes_any_number_as_object(blob_dataset: Path) -> None:
    listed = load_datalist(blob_dataset, "validation")

    def many_valued(data: dict) -> dict:
        return data | {"label": data["label"] * 255}

    for transform in (PrepareVolumed(), lambda item: many_valued(PrepareVolumed()(item))):
        dataset = Dataset(listed, transform)
        evaluator = volume_evaluator(
            Brightness(180.0, per_pixel=True), "cpu", dataset, SliceInferer(roi_size=[-1, -1], spatial_dim=2)
        )
        assert evaluator is not None
        evaluator.run()
        scores = []
        for item in listed:
            volume = PrepareVolumed()(item)
            predicted, mask = volume["image"] > 180, volume["label"] > 0.5
            scores.append(float(2 * (predicted & mask).sum() / (predicted.sum() + mask.sum())))
        assert evaluator.state.metrics["dice"] == pytest.approx(sum(scores) / len(scores), abs=1e-5)


def test_nothing_to_validate_gives_no_evaluator(blob_dataset: Path) -> None:
    network = Brightness(0.0, per_pixel=True)
    assert slice_evaluator(network, "cpu", SliceDataset([], PrepareVolumed())) is None
    for items in ([], [{"image": "a.nii.gz"}]):
        assert (
            volume_evaluator(network, "cpu", Dataset(items, PrepareVolumed()), SliceInferer(roi_size=[-1, -1])) is None
        )
