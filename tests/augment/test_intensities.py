from __future__ import annotations

import pytest
import torch
from monai.transforms import AdjustContrast, NormalizeIntensity

from camtools.augment import Normalize, RandomGamma, RandomScaleIntensity


def padded() -> dict[str, torch.Tensor]:
    image = torch.zeros(2, 2, 9, 8)
    image[0, :, :5, :6] = torch.rand(2, 5, 6) + 0.5
    image[1] = torch.rand(2, 9, 8) - 0.5
    return {"image": image, "frame": torch.tensor([[5, 6], [9, 8]])}


def test_gamma_equals_monai_in_the_frame_and_leaves_the_padding() -> None:
    batch = padded()
    uniform = torch.tensor([[0.0, 0.25], [0.4, 0.9]], dtype=torch.float64)
    found = RandomGamma((0.5, 2.0), 0.5)(batch, uniform)["image"]
    first = AdjustContrast(0.875)(batch["image"][0, :, :5, :6])
    torch.testing.assert_close(found[0, :, :5, :6], torch.as_tensor(first), atol=5e-5, rtol=0)
    torch.testing.assert_close(found[1], torch.as_tensor(AdjustContrast(1.85)(batch["image"][1])), atol=5e-5, rtol=0)
    found[0, :, :5, :6] = 0
    assert not found[0].any()


def test_probability_of_gamma_and_scale() -> None:
    image = torch.rand(1, 1, 2, 2).expand(4000, 1, 2, 2)
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for step in (RandomGamma((0.5, 0.6), 0.3), RandomScaleIntensity(0.4, 0.3)):
        changed = (step({"image": image}, uniform)["image"] != image).any(3).any(2).any(1)
        assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)


def test_scale_intensity_has_monais_range() -> None:
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = RandomScaleIntensity(0.4, 1.0)({"image": torch.ones(4000, 1, 1, 1)}, uniform)["image"]
    assert float(found.min()) == pytest.approx(0.6, abs=0.002)
    assert float(found.max()) == pytest.approx(1.4, abs=0.002)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)


def test_normalize_equals_monai_and_leaves_the_padding() -> None:
    batch = padded()
    found = Normalize([0.1, 0.2], [0.5, 2.0])(batch, torch.zeros(2, 0))["image"]
    monai = NormalizeIntensity([0.1, 0.2], [0.5, 2.0], channel_wise=True)
    expected = torch.as_tensor(monai(batch["image"][0, :, :5, :6].clone()))
    torch.testing.assert_close(found[0, :, :5, :6], expected)
    assert not found[0, :, 5:].any()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="Expected gamma as two numbers in ascending order"):
        RandomGamma((2.0, 1.0))
    with pytest.raises(ValueError, match=r"Expected prob in \[0, 1\], found 2"):
        RandomGamma((1.0, 2.0), 2)
    with pytest.raises(ValueError, match="Expected factor as two numbers"):
        RandomScaleIntensity(-1)
    with pytest.raises(ValueError, match="Expected standard deviations above 0, found 0"):
        Normalize(0, 0)
    with pytest.raises(ValueError, match="Expected 1 or 2 values, one per channel, found 3"):
        Normalize([1, 2, 3], 1)(padded(), torch.zeros(2, 0))
