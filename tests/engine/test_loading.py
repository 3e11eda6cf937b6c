from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised
from torch.utils.data import DataLoader

from camtools.augment import Augmentation, RandomCrop, RandomGamma
from camtools.data import DataError, SliceCache, SliceDataset, load_datalist
from camtools.engine import slice_loader
from camtools.engine.loading import PrepareBatch, prepare_volumes, set_epoch
from camtools.transforms import PrepareVolumed, ScaleSlicesd
from tests.conftest import write_dataset

PREPARE = PrepareVolumed(intensity=ScaleSlicesd("image"))


def noisy(data: Path, cache: SliceCache | None = None, seed: int = 0) -> SliceDataset:
    """Samples that differ in every draw."""
    transform = Compose([RandGaussianNoised("image", prob=1.0)])
    return SliceDataset(load_datalist(data, "training"), PREPARE, transform, seed=seed, cache=cache)


def drawn(loader: DataLoader[dict[str, Any]], epoch: int) -> torch.Tensor:
    set_epoch(loader, epoch)
    batches = list(loader)
    order = torch.cat([batch["index"] for batch in batches]).argsort()
    return torch.cat([batch["image"] for batch in batches])[order]


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_are_distinct_and_follow_seed_and_epoch(blob_dataset: Path, tmp_path: Path, workers: int) -> None:
    expected = {epoch: drawn(slice_loader(noisy(blob_dataset), 4), epoch) for epoch in (1, 2)}
    loader = slice_loader(noisy(blob_dataset, SliceCache(tmp_path / "cache")), 4, num_workers=workers)
    plain = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE)
    noise = [drawn(loader, 1) - torch.stack([entry["image"] for entry in plain]), drawn(loader, 2)]
    assert len(noise[0].flatten(1)[:, :4].unique(dim=0)) == len(plain) == 18
    for epoch in (2, 1):  # persistent workers follow the epoch
        assert torch.equal(drawn(loader, epoch), expected[epoch])
    assert not torch.equal(expected[1], expected[2])
    other = drawn(slice_loader(noisy(blob_dataset, seed=1), 4), 1)
    assert not torch.equal(other, expected[1])


def test_two_processes_see_the_samples_of_one(blob_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = load_datalist(blob_dataset, "training")

    def augmented(rank: int, processes: int, epoch: int) -> tuple[list[int], torch.Tensor]:
        monkeypatch.setattr("ignite.distributed.get_world_size", lambda: processes)
        monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
        augmentation = Augmentation([RandomGamma((0.5, 2.0)), RandomCrop(24, rotation=0.5)])
        loader = slice_loader(SliceDataset(items, PREPARE, augmentation=augmentation), 3)
        set_epoch(loader, epoch)
        batches = list(loader)
        images = torch.cat([PrepareBatch(augmentation)(batch, "cpu")[0] for batch in batches])
        return torch.cat([batch["index"] for batch in batches]).tolist(), images

    index, images = augmented(0, 1, epoch=1)
    expected = dict(zip(index, images, strict=True))
    shares = [augmented(rank, 2, epoch=1) for rank in range(2)]
    assert sorted(shares[0][0] + shares[1][0]) == sorted(index) == list(range(18))
    for numbers, found in shares:
        for number, image in zip(numbers, found, strict=True):
            torch.testing.assert_close(image, expected[number], atol=1e-6, rtol=0)
    assert augmented(0, 2, epoch=2)[0] != shares[0][0]  # another order in every epoch


def test_removed_cache_is_made_again_while_training(blob_dataset: Path, tmp_path: Path) -> None:
    dataset = noisy(blob_dataset, SliceCache(tmp_path / "cache"))
    prepare_volumes([dataset], "test")
    before = drawn(slice_loader(dataset, 4), 1)
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(drawn(slice_loader(dataset, 4), 1), before)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_volumes_are_prepared_once_before_the_first_epoch(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_dataset(tmp_path / "data", {"training": 17}, shape=(24, 24, 6))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    dataset = noisy(data, SliceCache(tmp_path / "cache"))
    with caplog.at_level("INFO", "camtools"):
        prepare_volumes([dataset], "test")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 17
    assert f"test: prepared slices take 0.00 GB in {tmp_path / 'cache'}, which may be removed" in caplog.text
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert torch.equal(drawn(slice_loader(dataset, 4), 1), drawn(slice_loader(noisy(data), 4), 1))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_without_a_cache_nothing_is_prepared_ahead(blob_dataset: Path) -> None:
    dataset = noisy(blob_dataset)
    prepare_volumes([dataset], "test")
    assert dataset._slices == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_unusable_volume_is_named_before_training(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / "data", {"training": 17}, shape=(24, 24, 6))
    dataset = noisy(data, SliceCache(tmp_path / "cache"))
    Path(dataset.data[5]["image"]).write_bytes(b"")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with pytest.raises(DataError, match=r"^Expected a volume, found an empty file \(0 bytes\) in .*case_5\.nii\.gz"):
        prepare_volumes([dataset], "test")


class Halved:
    """Stands for an augmentation: halves the image and knows the frames."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []

    def set_epoch(self, epoch: int, samples: int) -> None:
        self.epochs.append((epoch, samples))

    def __call__(self, batch: Any) -> dict[str, Any]:
        assert batch["frame"].shape == (len(batch["image"]), 2)
        return dict(batch) | {"image": batch["image"] / 2}


def test_augmentation_gets_the_epoch_and_the_batch(blob_dataset: Path) -> None:
    halved = Halved()
    items = load_datalist(blob_dataset, "training")
    dataset = SliceDataset(items, PREPARE, augmentation=halved)
    loader = slice_loader(dataset, 18, shuffle=False)
    set_epoch(loader, 7)
    assert halved.epochs == [(7, 18)]
    batch = next(iter(loader))
    images, labels = PrepareBatch(halved)(batch, "cpu")
    assert torch.equal(images, torch.stack([entry["image"] for entry in SliceDataset(items, PREPARE)]) / 2)
    assert torch.equal(labels, batch["label"])


def test_last_batch_is_dropped_unless_it_is_the_only_one(blob_dataset: Path) -> None:
    dataset = SliceDataset(load_datalist(blob_dataset, "training"), PREPARE)  # 18 slices
    assert [len(batch["image"]) for batch in slice_loader(dataset, batch_size=8, drop_last=True)] == [8, 8]
    assert [len(batch["image"]) for batch in slice_loader(dataset, batch_size=8)] == [8, 8, 2]
    assert [len(batch["image"]) for batch in slice_loader(dataset, batch_size=20, drop_last=True)] == [18]
