"""A tiny self-training on blobs: a network with one learned level, trained in milliseconds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import torch
from monai.inferers import SliceInferer
from monai.losses import DiceLoss
from monai.transforms import CastToTyped
from torch import Tensor, nn

from camtools.data import SliceDataset, Splits, VolumeDataset, load_datalist
from camtools.data.slice_dataset import pseudo_label_files
from camtools.engine import (
    MultiScaleInferer,
    NetworkTrainer,
    SegmenterTraining,
    SelfTraining,
    slice_loader,
    volume_evaluator,
)
from camtools.losses import OEEMLoss, SumLoss
from camtools.transforms import PrepareVolumed, intensity
from tests.conftest import write_volume

PREPARE = PrepareVolumed(intensity=intensity("volume", unit=True))
INFERER = SliceInferer(roi_size=[-1, -1], sw_batch_size=4, spatial_dim=2)


class Level(nn.Module):
    """The object is brighter than a learned level."""

    def __init__(self, level: float = 0.9) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, images: Tensor) -> Tensor:
        difference = 10 * (images - self.level)
        return torch.cat([-difference, difference], dim=1)


def write_labels(folder: Path, splits: Splits) -> None:
    """Pseudo-labels that are too small: the very brightest voxels."""
    for item in splits.training:
        image = nib.load(item["image"])
        array = image.get_fdata()
        path = Path(pseudo_label_files(folder, item, ["mask"])["mask"])
        write_volume(path, (array > 235).astype("uint8"), image.affine)


def splits_of_blobs(data: Path) -> Splits:
    return Splits(load_datalist(data, "training"), load_datalist(data, "validation"))


def training_of(network: nn.Module, splits: Splits, evaluator: Any = None, epochs: int = 2) -> SegmenterTraining:
    return SegmenterTraining(
        network=network,
        dataset=partial(
            SliceDataset,
            splits.training,
            PREPARE,
            splits=splits,
            transform=CastToTyped("label", dtype=torch.uint8),
            pseudo_labels=["mask"],
        ),
        loader=partial(slice_loader, batch_size=6),
        optimizer=partial(torch.optim.Adam, lr=0.05),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
        trainer=partial(
            NetworkTrainer,
            device="cpu",
            max_epochs=epochs,
            loss_function=SumLoss(
                [(OEEMLoss(), 1.0), (DiceLoss(softmax=True, to_onehot_y=True, ignore_index=255, batch=True), 1.0)]
            ),
            evaluator=evaluator,
        ),
    )


def self_training(
    data: Path, folder: Path, validated: bool = True, rounds: int = 2, start: float = 0.9, **options: Any
) -> SelfTraining:
    """Rounds on the blobs in ``data``, whose first labels and weights are written when they are absent."""
    splits, network = splits_of_blobs(data), Level()
    write_labels(folder / "labels", splits)
    torch.save(Level(start).state_dict(), folder / "start.pt")
    evaluator = None
    if validated:
        evaluator = volume_evaluator(network, "cpu", VolumeDataset(splits.validation, PREPARE), INFERER)
    return SelfTraining(
        training=training_of(network, splits, evaluator),
        rounds=rounds,
        data=splits.tagged(splits.training),
        prepare=PREPARE,
        inferer=MultiScaleInferer(INFERER, scales=[1.0], flips=[[], [0]]),
        weights=folder / "start.pt",
        pseudo_label_dir=folder / "labels",
        folder=folder / "self_training",
        evaluator=evaluator,
        **options,
    )
