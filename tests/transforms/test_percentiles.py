from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRangePercentilesd

from camtools.transforms import ScalePercentilesd


def volume(shape: tuple[int, ...] = (2, 20, 15, 4)) -> MetaTensor:
    torch.manual_seed(0)
    return MetaTensor(torch.randn(shape) * 100 + 40, affine=torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0])))


def test_a_volume_is_scaled_as_by_monai() -> None:
    image = volume()
    monai = ScaleIntensityRangePercentilesd("image", 2, 97, 0, 1, clip=True, channel_wise=True)({"image": image})
    scaled = ScalePercentilesd("image", 2, 97)({"image": image})["image"]
    torch.testing.assert_close(scaled, monai["image"], atol=1e-6, rtol=0)
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled.affine, image.affine)
    assert torch.equal(image, volume())


def test_each_slice_of_each_channel_is_scaled_by_its_own_percentiles() -> None:
    image = volume()
    scaled = ScalePercentilesd("image", 2, 97, scope="slice")({"image": image})["image"].numpy()
    for channel in range(2):
        for index in range(4):
            values = image[channel, ..., index].numpy()
            low, high = np.percentile(values, [2, 97])
            expected = ((values - low) / (high - low)).clip(0, 1)
            np.testing.assert_allclose(scaled[channel, ..., index], expected, atol=1e-6)


@pytest.mark.parametrize("scope", ["slice", "volume"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-40, 12345.678])
def test_constant_voxels_become_zero(scope: str, value: float) -> None:
    image = torch.full((1, 9, 7, 3), value)
    scaled = ScalePercentilesd("image", scope=scope)({"image": image})["image"]  # type: ignore[arg-type]
    assert torch.equal(scaled, torch.zeros(1, 9, 7, 3))


def test_a_slice_with_few_bright_voxels_keeps_them() -> None:
    image = torch.zeros(1, 64, 64, 2)
    image[0, 0, :2, 0] = torch.tensor([500.0, 1000.0])
    scaled = ScalePercentilesd("image", scope="slice")({"image": image})["image"]
    assert scaled[0, 0, :2, 0].tolist() == [0.5, 1.0]
    assert scaled.sum() == 1.5


def test_extreme_values_give_no_nan() -> None:
    image = torch.tensor([-3e38, 3e38, 0.0, 1.0]).reshape(1, 2, 2, 1)
    scaled = ScalePercentilesd("image", 0, 100)({"image": image})["image"]
    assert scaled.flatten().tolist() == [0.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(("lower", "upper"), [(-1, 99), (1, 101), (60, 40), (50, 50), (float("nan"), 99)])
def test_wrong_percentiles_are_refused(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match=r"Expected 0 <= lower < upper <= 100, found lower=.* Give percentiles"):
        ScalePercentilesd("image", lower, upper)


def test_missing_keys_may_be_allowed() -> None:
    assert ScalePercentilesd("image", allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError):
        ScalePercentilesd("image")({})
