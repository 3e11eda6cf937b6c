from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from camtools.augment import Augmentation, RandomCrop, RandomGamma


def ready(views: int = 1, epoch: int = 0, **arguments: Any) -> Augmentation:
    augmentation = Augmentation([RandomGamma((0.5, 2.0)), RandomCrop(12, 0.5)], 3, views, **arguments)
    augmentation.set_epoch(epoch, 20)
    return augmentation


def batch_of(index: list[int]) -> dict[str, torch.Tensor]:
    images = torch.rand(20, 1, 16, 18, generator=torch.Generator().manual_seed(0))
    return {"image": images[index], "label": images[index], "index": torch.tensor(index)}


@pytest.mark.parametrize("views", [1, 2])
def test_a_sample_is_the_same_in_any_batch(views: int) -> None:
    whole = ready(views)(batch_of(list(range(20))))["image"]
    some = ready(views)(batch_of([13, 2, 7]))["image"]
    torch.testing.assert_close(some, whole[[13, 2, 7]], atol=1e-6, rtol=0)


def test_epochs_seeds_and_views_differ() -> None:
    batch = batch_of([0, 1, 2, 3])
    first = ready()(batch)["image"]
    assert torch.equal(first, ready()(batch)["image"])
    assert not torch.equal(first, ready(epoch=1)(batch)["image"])
    views = ready(2)(batch)["image"]
    assert views.shape == (4, 2, 1, 12, 12)
    for sample in views:
        assert not torch.equal(sample[0], sample[1])
    other = Augmentation([RandomGamma((0.5, 2.0)), RandomCrop(12, 0.5)], seed=4)
    other.set_epoch(0, 20)
    assert not torch.equal(first, other(batch)["image"])


def test_the_batch_does_not_change_and_tags_pass() -> None:
    batch = batch_of([4, 5])
    batch["label"] = torch.tensor([0, 1])
    before = batch["image"].clone()
    found = ready(2)(batch)
    assert torch.equal(batch["image"], before)
    assert found["label"] is batch["label"]


def test_progressive_size() -> None:
    batch = batch_of([0, 1])
    full = ready()(batch)
    half = ready(sizes={0: 0.5, 4: 1.0})(batch)
    expected = interpolate(full["image"], (6, 6), mode="bilinear", antialias=True)
    torch.testing.assert_close(half["image"], expected)
    assert half["label"].shape == (2, 1, 6, 6)
    assert half["frame"].tolist() == [[6, 6], [6, 6]]
    assert ready(epoch=4, sizes={0: 0.5, 4: 1.0})(batch)["image"].shape[-1] == 12


def test_progressive_size_keeps_classes() -> None:
    batch = batch_of([0, 1])
    batch["label"] = torch.randint(0, 2, (2, 1, 16, 18)) * 7
    found = Augmentation([], sizes={0: 0.5}, label_mode="nearest")
    found.set_epoch(0, 20)
    assert set(found(batch)["label"].unique().tolist()) == {0, 7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": torch.tensor([0, 20])}, "Expected numbers of samples between 0 and 19, found"),
        ({"index": torch.tensor([0, -1])}, "Expected numbers of samples between 0 and 19, found"),
        ({"index": torch.tensor([0])}, r"Expected an index of shape \(2,\), found \(1,\)"),
        ({"image": torch.zeros(2, 4, 4)}, r"Expected images of shape \(B, C, H, W\), found"),
        ({"label": torch.zeros(2, 1, 3, 3)}, "Expected pixel labels of the images' size"),
        ({"frame": torch.zeros(3, 2)}, r"Expected a frame of shape \(2, 2\), found \(3, 2\)"),
        ({"frame": torch.tensor([[1, 1], [17, 3]])}, "Expected frames between 1 x 1 and 16 x 18, found"),
    ],
)
def test_wrong_batches(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ready()({**batch_of([0, 1]), **change})


def test_wrong_use() -> None:
    batch = batch_of([0])
    with pytest.raises(ValueError, match="Call set_epoch"):
        Augmentation([])(batch)
    del batch["index"]
    with pytest.raises(ValueError, match="Expected the number of each sample as 'index', found none"):
        ready()(batch)
    with pytest.raises(ValueError, match="Expected a seed of 0 or more, found -1"):
        Augmentation([], seed=-1)
    with pytest.raises(ValueError, match="Expected 1 or more views, found 0"):
        Augmentation([], views=0)
    with pytest.raises(ValueError, match="Expected sizes with epochs of 0 or more and factors above 0"):
        Augmentation([], sizes={0: 0.0})
    with pytest.raises(ValueError, match="Expected an epoch of 0 or more and 1 or more samples"):
        ready().set_epoch(0, 0)
