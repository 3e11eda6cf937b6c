"""Predictions of a volume and their gate: camtools.transforms.prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer

from camtools.transforms import (
    GateSlicesd,
    PredictVolumed,
)


def volume_of(seed: int, channels: int = 1) -> MetaTensor:
    return MetaTensor(
        torch.rand(channels, 20, 22, 4, generator=torch.Generator().manual_seed(seed)), affine=torch.eye(4)
    )


class Threshold(torch.nn.Module):
    """Two logits a pixel: foreground where the image is above 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1) * self.scale


class MeanClassifier(Threshold):
    """Positive where the mean of the slice is above 0.5; two logits or one."""

    def __init__(self, logits: int) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = (images.mean(dim=(1, 2, 3)) - 0.5)[:, None] * self.scale
        return score if self.logits == 1 else torch.cat([-score, score], dim=1)


def test_prediction_of_a_volume_is_that_of_its_slices() -> None:
    data = {"image": volume_of(3)}
    logits = PredictVolumed(Threshold(), SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=3))(data)["pred"]
    torch.testing.assert_close(logits[1].as_tensor(), data["image"][0].as_tensor() - 0.5)
    assert not logits.requires_grad


@pytest.mark.parametrize("logits", [1, 2])
def test_gate_empties_negative_slices_alone(logits: int) -> None:
    image = MetaTensor(torch.full((1, 4, 4, 3), 0.2), affine=torch.eye(4))
    image[..., 1] = 0.8
    image[0, 0, 0, 2] = 0.9  # a bright pixel in a slice that is negative on the whole
    data = PredictVolumed(Threshold(), SliceInferer(roi_size=(-1, -1), spatial_dim=2))({"image": image})
    ungated = data["pred"].argmax(dim=0)
    gated = GateSlicesd(MeanClassifier(logits), batch_size=2)(data)["pred"].argmax(dim=0)
    assert ungated[0, 0, 2] == 1
    assert gated[..., [0, 2]].sum() == 0
    assert torch.equal(gated[..., 1], ungated[..., 1])


def test_gate_reads_its_weights_once(tmp_path: Path) -> None:
    torch.save({"scale": torch.tensor([-1.0])}, tmp_path / "classifier.pt")  # turns the verdict round
    image = MetaTensor(torch.full((1, 4, 4, 2), 0.2), affine=torch.eye(4))
    image[..., 1] = 0.8
    logits = torch.stack([torch.zeros(4, 4, 2), torch.ones(4, 4, 2)])
    gate = GateSlicesd(MeanClassifier(2), weights=tmp_path / "classifier.pt")
    data = {"image": image, "pred": MetaTensor(logits)}
    assert gate(data)["pred"].argmax(dim=0)[0, 0].tolist() == [1, 0]
    (tmp_path / "classifier.pt").unlink()
    assert gate(data)["pred"].argmax(dim=0)[0, 0].tolist() == [1, 0]


def test_gate_without_its_weights_names_the_file(tmp_path: Path) -> None:
    gate = GateSlicesd(MeanClassifier(2), weights=tmp_path / "gone.pt")
    with pytest.raises(FileNotFoundError, match=r"gate: expected trained weights at .*gone\.pt"):
        gate({"image": volume_of(1), "pred": MetaTensor(torch.zeros(2, 4, 4, 1))})
