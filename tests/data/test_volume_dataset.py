from __future__ import annotations

from pathlib import Path

import torch

from camtools.data import SliceCache, VolumeDataset, load_datalist
from camtools.transforms import PrepareVolumed, ScaleSlicesd


def test_volumes_are_the_same_with_and_without_cache(blob_dataset: Path, tmp_path: Path) -> None:
    items = load_datalist(blob_dataset, "validation")
    prepare = PrepareVolumed(pixel_size=1.5, intensity=ScaleSlicesd("image"))
    plain = VolumeDataset(items, prepare)
    cached = VolumeDataset(items, prepare, SliceCache(tmp_path / "cache"))
    assert len(plain) == len(cached) == 2
    for _ in range(2):
        for first, second in zip(plain, cached, strict=True):
            assert set(second) == {"image", "label"}
            for key in ("image", "label"):
                assert torch.equal(first[key].as_tensor(), second[key])


def test_volumes_without_masks(blob_dataset: Path, tmp_path: Path) -> None:
    items = [{"image": item["image"]} for item in load_datalist(blob_dataset, "validation")]
    assert set(VolumeDataset(items, PrepareVolumed(), SliceCache(tmp_path / "cache"))[0]) == {"image"}
