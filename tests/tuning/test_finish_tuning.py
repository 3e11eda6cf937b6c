from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SliceInferer
from monai.metrics import compute_dice

from camtools.data.volumes import read_mask
from camtools.engine import MultiScaleInferer, PredictionPipeline
from camtools.transforms import FinishPredictiond, PrepareVolumed
from camtools.tuning import ChosenFinishd, FinishChoice, FinishTuning, dice_of_finishes, read_finish
from tests.conftest import write_volume


class Given(torch.nn.Module):
    """Returns logits whose probability of the object is the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shares = images.clamp(1e-6, 1 - 1e-6)
        return torch.cat([torch.zeros_like(shares), self.weight * torch.logit(shares)], dim=1)


def volume(share: float, stray: bool = False) -> dict[str, torch.Tensor]:
    """A block of 16 voxels that the segmenter finds with probability ``share``, and perhaps one stray voxel."""
    label = torch.zeros(1, 32, 32, 4)
    label[:, 4:8, 4:6, 1:3] = 1
    image = 0.05 + (share - 0.05) * label
    if stray:
        image[:, 20, 20, 3] = 0.95
    return {"image": image, "label": label}


def inferer() -> MultiScaleInferer:
    slices = SliceInferer(roi_size=[-1, -1], sw_batch_size=4, spatial_dim=2)
    return MultiScaleInferer(slices, scales=[1.0], flips=[[]])


def tuning(
    volumes: list[dict[str, torch.Tensor]], folder: Path, pixel_size: float | None = None, **settings: Any
) -> FinishTuning:
    items = []
    for case, content in enumerate(volumes):
        item = {"case": str(case)}
        for key, voxels in content.items():
            item[key] = write_volume(folder / f"{case}_{key}.nii.gz", voxels[0].numpy(), np.eye(4))
        items.append(item)
    network = Given()
    torch.save(network.state_dict(), folder / "model.pt")
    prepare = PrepareVolumed(pixel_size, slice_axis=2)
    return FinishTuning(items, prepare, network, folder / "model.pt", inferer(), folder / "finishing", **settings)


def test_dice_by_hand() -> None:
    content = volume(0.35, stray=True)
    choices = [FinishChoice(0.3), FinishChoice(0.3, True), FinishChoice(0.5), FinishChoice(0.01)]
    found = dice_of_finishes(content["image"], content["label"], choices)
    np.testing.assert_allclose(found, [32 / 33, 1.0, 0.0, 32 / (16 + 32 * 32 * 4)], rtol=1e-6)
    assert np.isnan(dice_of_finishes(content["image"], torch.zeros_like(content["label"]), choices)).all()


def test_threshold_and_component_that_fit_the_volumes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volumes = [volume(0.35), volume(0.65, stray=True), volume(0.38), volume(0.9)]
    with caplog.at_level(logging.INFO, "camtools"):
        tuning(volumes, tmp_path, export_path=tmp_path / "models/finish.json").run()
    assert read_finish(tmp_path / "finishing/finish.json") == FinishChoice(0.3, True)
    assert read_finish(tmp_path / "models/finish.json") == FinishChoice(0.3, True)
    with (tmp_path / "finishing/finish.csv").open() as file:
        rows = {(row["threshold"], row["largest_component"]): row for row in csv.DictReader(file)}
    assert len(rows) == 20
    assert float(rows["0.3", "1"]["dice_percent"]) == 100
    assert float(rows["0.5", "1"]["dice_percent"]) == 50  # two are not found
    assert [float(rows["0.5", "1"][str(case)]) for case in range(4)] == [0, 100, 0, 100]
    assert "threshold 0.30, the largest component: 3D Dice 1.0000 on 4 validation volumes" in caplog.text


def test_cross_validation_leaves_the_patient_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # only the first volume needs a threshold of 0.1, and it is scored with the choice of the others
    volumes = [volume(0.15), volume(0.9), volume(0.9)]
    with caplog.at_level(logging.INFO, "camtools"):
        tuning(volumes, tmp_path, thresholds=[0.1, 0.5]).run()
    assert "threshold 0.10, all components: 3D Dice 1.0000 on 3 validation volumes; 0.6667 by cross" in caplog.text


def test_without_masks_the_choice_is_fixed(tmp_path: Path) -> None:
    one = tuning([volume(0.35)], tmp_path)
    del one.data[0]["label"]
    one.run()
    assert read_finish(tmp_path / "finishing/finish.json") == FinishChoice(0.5, False)
    assert not (tmp_path / "finishing/finish.csv").exists()


def test_scores_are_those_of_the_written_masks(tmp_path: Path) -> None:
    one = tuning([volume(0.65), volume(0.9)], tmp_path, pixel_size=0.7)
    one.run()
    finish = ChosenFinishd(tmp_path / "finishing/finish.json")
    PredictionPipeline(
        one.data,
        one.prepare,
        Given(),
        inferer(),
        "cpu",
        tmp_path / "model.pt",
        tmp_path / "predictions",
        postprocessing=FinishPredictiond(one.prepare, to_classes=finish),
        slice_axis=2,
    ).run()
    with (tmp_path / "finishing/finish.csv").open() as file:
        rows = {(row["threshold"], row["largest_component"]): row for row in csv.DictReader(file)}
    chosen = rows[str(finish.choice.threshold), str(int(finish.choice.largest_component))]
    for item in one.data:
        written = read_mask(tmp_path / "predictions" / f"{item['case']}.nii.gz").as_tensor()
        expected = compute_dice(written[None], read_mask(item["label"]).as_tensor()[None])
        assert float(chosen[item["case"]]) == pytest.approx(100 * float(expected))
