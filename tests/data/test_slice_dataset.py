from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, RandFlipd, RandSpatialCropd

from camtools.data import SliceDataset, load_datalist
from camtools.data.slice_dataset import pseudo_label_files
from camtools.transforms import LoadVolumed, ScaleSlicesd, SliceAxisLastd
from tests.conftest import blob_volume, write_volume

PREPARE = Compose(
    [
        LoadVolumed(["image", "cam", "spl"], allow_missing_keys=True),
        SliceAxisLastd(["image", "cam", "spl"], allow_missing_keys=True),
        ScaleSlicesd("image"),
    ]
)


def test_every_slice_has_its_tag(blob_dataset: Path) -> None:
    dataset = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE)
    assert len(dataset) == 18
    assert [int(dataset[k]["label"]) for k in range(6)] == [0, 0, 1, 1, 0, 0]
    assert dataset[0]["image"].shape == (1, 32, 36)
    assert dataset[0]["label"].dtype == torch.int64
    assert type(dataset[0]["image"]) is torch.Tensor


def test_masks_of_training_items_reach_no_sample(blob_dataset: Path) -> None:
    dataset = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE)
    assert set(dataset[2]) == {"image", "index", "label", "tag"}
    assert dataset[2]["label"].ndim == 0


def test_tags_follow_slices_when_the_file_is_stacked_along_another_axis(tmp_path: Path) -> None:
    image, mask = blob_volume(1)
    affine = np.diag([-5.0, 1.0, -1.0, 1.0])
    item = {
        "image": write_volume(tmp_path / "i.nii.gz", image.transpose(2, 0, 1).copy(), affine),
        "label": write_volume(tmp_path / "m.nii.gz", mask.transpose(2, 0, 1).copy(), affine),
    }
    dataset = SliceDataset([item], Compose([LoadVolumed("image"), SliceAxisLastd("image")]))
    brightest = [float(dataset[k]["image"].max()) for k in range(len(dataset))]
    assert [value > 180 for value in brightest] == [bool(dataset[k]["tag"]) for k in range(len(dataset))]


def test_pseudo_labels_become_the_label(blob_dataset: Path, tmp_path: Path) -> None:
    items = load_datalist(blob_dataset, "training")
    for number, item in enumerate(items):
        for channel, path in enumerate(pseudo_label_files(tmp_path, item).values()):
            write_volume(Path(path), np.full((32, 36, 6), (number + channel) / 10, np.float32))
    dataset = SliceDataset(items, PREPARE, pseudo_label_dir=tmp_path)
    label = dataset[6]["label"]
    assert label.shape == (2, 32, 36)
    torch.testing.assert_close(label[:, 0, 0], torch.tensor([0.1, 0.2]))


def test_epoch_fixes_the_random_draws(blob_dataset: Path) -> None:
    transform = Compose([RandFlipd("image", prob=0.5), RandSpatialCropd("image", (16, 16), random_size=False)])
    dataset = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE, transform)

    def epoch(number: int) -> torch.Tensor:
        dataset.set_epoch(number)
        return torch.stack([torch.as_tensor(dataset[k]["image"]) for k in range(6)])

    first, second = epoch(1), epoch(2)
    assert torch.equal(epoch(1), first)
    assert not torch.equal(first, second)


def test_one_kind_of_pseudo_label(blob_dataset: Path, tmp_path: Path) -> None:
    items = load_datalist(blob_dataset, "training")
    for item in items:
        write_volume(Path(pseudo_label_files(tmp_path, item, ["mask"])["mask"]), np.ones((32, 36, 6), np.uint8))
    prepare = Compose([LoadVolumed(["image", "mask"]), SliceAxisLastd(["image", "mask"])])
    dataset = SliceDataset(items, prepare, pseudo_label_dir=tmp_path, pseudo_labels=["mask"])
    assert dataset[0]["label"].shape == (1, 32, 36)


def test_repeats_give_every_slice_several_times(blob_dataset: Path) -> None:
    dataset = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE, repeats=3)
    assert len(dataset) == 3 * 18
    assert all(torch.equal(dataset[k]["image"], dataset[k + 18]["image"]) for k in range(18))
