from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

from camtools.augment import ColourJitter

CHANGES = [
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
]


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchvision(channels: int) -> None:
    image = torch.rand(40, channels, 9, 11)
    image[0] = 0.3  # grey: no hue
    jitter = ColourJitter(0.125, 0.5, 0.5, 0.05)
    uniform = torch.rand(40, jitter.draws, dtype=torch.float64)
    found = jitter({"image": image}, uniform)["image"]
    for k in range(40):
        expected = image[k]
        for kind in uniform[k, :4].argsort().tolist():
            low, high = jitter.limits[kind]
            expected = CHANGES[kind](expected, float(low + (high - low) * uniform[k, 4 + kind]))
        torch.testing.assert_close(found[k], expected, atol=5e-5, rtol=0)


def test_four_channels_change_as_four_grey_images() -> None:
    image = torch.rand(20, 4, 9, 11)
    jitter = ColourJitter(0.125, 0.5, 0.5, 0.05)
    uniform = torch.rand(20, jitter.draws, dtype=torch.float64)
    found = jitter({"image": image}, uniform)["image"]
    for channel in range(4):
        alone = jitter({"image": image[:, channel : channel + 1]}, uniform)["image"]
        torch.testing.assert_close(found[:, channel : channel + 1], alone)


def test_padding_stays_zero_and_out_of_the_mean() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., :5, :6] = torch.rand(3, 5, 6)
    jitter = ColourJitter(contrast=0.5)
    uniform = torch.zeros(1, 8)
    found = jitter({"image": image, "frame": torch.tensor([[5, 6]])}, uniform)["image"]
    expected = functional.adjust_contrast(image[0, :, :5, :6], 0.5)
    torch.testing.assert_close(found[0, :, :5, :6], expected)
    assert not found[..., 5:, :].any()
    assert not found[..., 6:].any()


def test_every_order_is_as_likely() -> None:
    uniform = torch.rand(24000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, counts = uniform.argsort(1).unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert 850 < int(counts.min()) <= int(counts.max()) < 1150


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="Expected hue as two numbers in ascending order in .0, 0.5."):
        ColourJitter(hue=0.6)
    with pytest.raises(ValueError, match="Expected brightness as two numbers"):
        ColourJitter(brightness=-1)
