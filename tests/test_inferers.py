from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.engine import RandomSizeInferer


def sizes(inferer: RandomSizeInferer, batches: int, shape: tuple[int, ...] = (3, 1, 100, 60)) -> list[torch.Size]:
    seen: list[torch.Size] = []
    network = nn.Identity()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    for _ in range(batches):
        inferer(torch.zeros(shape), network)
    return seen


def test_every_batch_has_a_size_between_the_factors():
    torch.manual_seed(0)
    seen = sizes(RandomSizeInferer(0.5, 2.0), batches=400)
    heights = torch.tensor([shape[2] for shape in seen])
    assert {shape[:2] for shape in seen} == {(3, 1)}
    assert all(abs(shape[3] - 0.6 * shape[2]) <= 1 for shape in seen)
    assert 50 <= heights.min() < 55
    assert 190 < heights.max() <= 200
    assert (heights < 100).float().mean() == pytest.approx(0.5, abs=0.1)  # as often smaller as larger


def test_draws_follow_torchs_seed():
    inferer = RandomSizeInferer(1.0, 2.0)
    torch.manual_seed(3)
    first = sizes(inferer, batches=5)
    torch.manual_seed(3)
    assert sizes(inferer, batches=5) == first
    assert len(set(first)) > 1


def test_one_factor_keeps_the_images():
    images = torch.rand(2, 3, 9, 7)
    assert torch.equal(RandomSizeInferer(1.0, 1.0)(images, nn.Identity()), images)


def test_whole_images_are_resized():
    images = torch.rand(2, 1, 16, 16)
    doubled = RandomSizeInferer(2.0, 2.0)(images, nn.Identity())
    expected = nn.functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled, expected)


@pytest.mark.parametrize(("smallest", "largest"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_wrong_factors_are_named(smallest: float, largest: float):
    with pytest.raises(ValueError, match=rf"0 < smallest <= largest, got smallest={smallest} and largest={largest}"):
        RandomSizeInferer(smallest, largest)
