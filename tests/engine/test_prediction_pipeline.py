"""Masks of volumes, on the voxels of their files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import SliceInferer
from torch import nn

from camtools.data import list_volumes
from camtools.engine import PredictionPipeline
from camtools.transforms import FinishPredictiond, PrepareVolumed
from tests.conftest import write_volume

# slices along the first array axis, a mirrored one among the others
AFFINE = np.array([[0.0, -1.0, 0.0, 3.0], [0.0, 0.0, 1.0, 5.0], [4.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


class Threshold(nn.Module):
    """A pixel is the object where it is brighter than the learned level."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(images), images - self.level], dim=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    array = np.zeros((5, 40, 44), np.int16)
    array[2, 3:9, 30:40] = 100
    array[3, 20:22, 4:6] = 100
    write_volume(tmp_path / "in/a.nii.gz", array, AFFINE)
    torch.save({"level": torch.tensor(50.0)}, tmp_path / "model.pt")
    return tmp_path


def predicted(folder: Path, prepare: PrepareVolumed, **options: object) -> np.ndarray:
    PredictionPipeline(
        data=list_volumes(folder / "in"),
        prepare=prepare,
        network=Threshold(),
        inferer=SliceInferer(roi_size=[-1, -1], sw_batch_size=2, spatial_dim=2),
        device="cpu",
        weights=folder / "model.pt",
        folder=folder / "out",
        **options,
    ).run()
    written = nib.load(folder / "out/a.nii.gz")
    np.testing.assert_allclose(written.affine, AFFINE)
    assert written.get_data_dtype() == np.uint8
    return np.asarray(written.dataobj)


@pytest.mark.parametrize("pixel_size", [None, 0.5])
def test_mask_lies_where_the_object_is_whatever_the_preparation(folder: Path, pixel_size: float | None) -> None:
    truth = np.asarray(nib.load(folder / "in/a.nii.gz").dataobj) > 50
    found = predicted(folder, PrepareVolumed(pixel_size))
    np.testing.assert_array_equal(found, truth)


def test_largest_component_alone_is_kept_when_asked(folder: Path) -> None:
    prepare = PrepareVolumed()
    found = predicted(folder, prepare, postprocessing=FinishPredictiond(prepare, largest_component=True))
    assert found.sum() == 60
    assert found[3].sum() == 0


def test_gate_changes_the_logits_first(folder: Path) -> None:
    prepare = PrepareVolumed()

    def empty(data: dict) -> dict:
        return data | {"pred": data["pred"] * 0}

    assert predicted(folder, prepare, postprocessing=FinishPredictiond(prepare, gate=empty)).sum() == 0
