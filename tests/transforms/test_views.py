from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, RandSpatialCropd
from torch import Tensor

from camtools.data import SliceDataset, load_datalist
from camtools.transforms import LoadVolumed, RandViewsd, ScaleSlicesd, SliceAxisLastd


def noisy_views(keys: str | list[str] = "image", views: int = 3) -> RandViewsd:
    steps = [RandFlipd(keys, prob=0.5), RandGaussianNoised(keys, prob=1.0)]
    return RandViewsd(keys, Compose(steps), views)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0))


def test_views_are_stacked_and_differ(image: Tensor) -> None:
    sample = noisy_views()({"image": image})
    assert sample["image"].shape == (3, 2, 6, 5)
    assert not any(torch.equal(sample["image"][i], sample["image"][j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_other_keys_and_the_input_are_left_as_they_are(image: Tensor) -> None:
    sample = {"image": image, "label": torch.tensor(1), "tag": 1}
    before = image.clone()
    result = noisy_views()(sample)
    assert result is not sample
    assert result["label"] is sample["label"]
    assert result["tag"] == 1
    assert sample["image"] is image
    assert torch.equal(image, before)


def test_views_of_several_keys_share_their_draws(image: Tensor) -> None:
    keys = ["image", "mask"]
    crop = RandSpatialCropd(keys, roi_size=(4, 3), random_size=False)
    result = RandViewsd(keys, crop).set_random_state(3)({"image": image, "mask": 2 * image})
    assert result["image"].shape == (2, 2, 4, 3)
    assert torch.equal(result["mask"], 2 * result["image"])


@pytest.mark.parametrize("composed", [False, True])
def test_seed_fixes_the_views(image: Tensor, composed: bool) -> None:
    def draw(seed: int) -> Tensor:
        transform = Compose([noisy_views()]) if composed else noisy_views()
        return transform.set_random_state(seed=seed)({"image": image})["image"]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_epoch_of_a_dataset_fixes_the_views(blob_dataset: Path) -> None:
    prepare = Compose([LoadVolumed("image"), SliceAxisLastd("image"), ScaleSlicesd("image")])
    items = load_datalist(blob_dataset, "training")[:1]

    def epoch(dataset: SliceDataset, number: int) -> Tensor:
        dataset.set_epoch(number)
        return torch.stack([torch.as_tensor(dataset[k]["image"]) for k in range(len(dataset))])

    dataset, resumed = (SliceDataset(items, prepare, Compose([noisy_views(views=2)])) for _ in range(2))
    first, second = epoch(dataset, 1), epoch(dataset, 2)
    assert first.shape == (6, 2, 1, 32, 36)
    assert not torch.equal(first, second)
    assert torch.equal(epoch(resumed, 2), second)


@pytest.mark.parametrize("views", [1, 0])
def test_number_of_views_is_checked(views: int) -> None:
    with pytest.raises(ValueError, match=f"Expected 2 or more views, found {views}"):
        RandViewsd("image", RandFlipd("image"), views)
