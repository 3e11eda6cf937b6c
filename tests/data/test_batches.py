from __future__ import annotations

import pytest
import torch

from camtools.data import DataError
from camtools.data.batches import collate_on_canvas, collate_same_size


def sample(height: int, width: int, index: int = 0) -> dict[str, object]:
    image = torch.rand(2, height, width) + 1
    return {"image": image, "label": image[:1] / 2, "tag": index % 2, "index": index}


def test_smaller_slices_are_followed_by_zeros() -> None:
    samples = [sample(4, 6, 0), sample(5, 3, 1)]
    batch = collate_on_canvas(samples)
    assert batch["image"].shape == (2, 2, 5, 6)
    assert batch["label"].shape == (2, 1, 5, 6)
    assert batch["frame"].tolist() == [[4, 6], [5, 3]]
    assert batch["tag"].tolist() == batch["index"].tolist() == [0, 1]
    for row, (height, width) in enumerate(batch["frame"].tolist()):
        for key in ("image", "label"):
            assert torch.equal(batch[key][row, :, :height, :width], samples[row][key])
            assert batch[key][row].count_nonzero() == samples[row][key].numel()  # type: ignore[attr-defined]


def test_tags_are_stacked_as_they_are() -> None:
    batch = collate_on_canvas(
        [sample(4, 4) | {"label": torch.tensor([0.0, 1.0])}, sample(5, 5) | {"label": torch.ones(2)}]
    )
    assert batch["label"].tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_samples_are_not_changed() -> None:
    samples = [sample(4, 6), sample(5, 3)]
    collate_on_canvas(samples)
    assert samples[0]["image"].shape == (2, 4, 6)  # type: ignore[attr-defined]


def test_different_sizes_need_an_augmentation() -> None:
    assert collate_same_size([sample(4, 6), sample(4, 6)])["image"].shape == (2, 2, 4, 6)
    message = r"Expected images of one size in a batch, found \(2, 4, 6\) and \(2, 5, 3\). Crop or resize them"
    with pytest.raises(DataError, match=message):
        collate_same_size([sample(4, 6), sample(5, 3)])
