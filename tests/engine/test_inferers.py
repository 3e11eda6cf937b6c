from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.engine import RandomSizeInferer
from camtools.engine.inferers import HalfPrecisionInferer


def sizes(inferer: RandomSizeInferer, batches: int, shape: tuple[int, ...] = (3, 1, 100, 60)) -> list[torch.Size]:
    seen: list[torch.Size] = []
    network = nn.Identity()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    for _ in range(batches):
        inferer(torch.zeros(shape), network)
    return seen


def test_every_batch_has_one_of_the_sizes():
    torch.manual_seed(0)
    seen = sizes(RandomSizeInferer([0.5, 1.0, 1.3]), batches=300)
    assert set(seen) == {(3, 1, 50, 30), (3, 1, 100, 60), (3, 1, 130, 78)}
    assert all(70 < seen.count(size) < 130 for size in set(seen))


def test_draws_follow_torchs_seed():
    inferer = RandomSizeInferer()
    torch.manual_seed(3)
    first = sizes(inferer, batches=9)
    torch.manual_seed(3)
    assert sizes(inferer, batches=9) == first
    assert len(set(first)) > 1


def test_factor_one_keeps_the_images():
    images = torch.rand(2, 3, 9, 7)
    assert torch.equal(RandomSizeInferer([1.0])(images, nn.Identity()), images)


def test_whole_images_are_resized():
    images = torch.rand(2, 1, 16, 16)
    doubled = RandomSizeInferer([2.0])(images, nn.Identity())
    expected = nn.functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled, expected)


@pytest.mark.parametrize(("factors", "found"), [([], r"\(\)"), ([1.0, 0.0], r"\(1.0, 0.0\)"), ([-1], r"\(-1,\)")])
def test_wrong_factors_are_named(factors: list[float], found: str):
    with pytest.raises(ValueError, match=f"Expected factors to be one or more positive numbers, found {found}"):
        RandomSizeInferer(factors)


@pytest.mark.parametrize("instructions", [True, False])
def test_half_precision_inferer_is_close_to_full_precision(instructions: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("camtools.precision.computes_in", lambda dtype, device: instructions)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = torch.rand(2, 1, 8, 8)
    plain = HalfPrecisionInferer()(images, model)
    twice = HalfPrecisionInferer(RandomSizeInferer([2.0]))(images, model)
    torch.testing.assert_close(twice, RandomSizeInferer([2.0])(images, model), rtol=0.05, atol=0.01)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, model(images), rtol=0.05, atol=0.01)
    assert torch.equal(plain, model(images)) != instructions
