from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensityd

from camtools.transforms import ZScored


def volume() -> MetaTensor:
    torch.manual_seed(0)
    image = (torch.randn(2, 20, 15, 4) * 100 + 40).relu()  # many voxels are zero
    return MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0])))


@pytest.mark.parametrize("nonzero", [False, True])
def test_a_volume_is_normalised_as_by_monai(nonzero: bool) -> None:
    image = volume()
    monai = NormalizeIntensityd("image", nonzero=nonzero, channel_wise=True)({"image": image.clone()})["image"]
    scores = ZScored("image", nonzero=nonzero)({"image": image})["image"]
    torch.testing.assert_close(scores, monai, atol=1e-5, rtol=0)
    assert scores.dtype == torch.float32
    assert torch.equal(scores.affine, image.affine)
    assert torch.equal(image, volume())


@pytest.mark.parametrize("nonzero", [False, True])
def test_each_slice_is_normalised_as_a_volume_of_its_own(nonzero: bool) -> None:
    image = volume()
    scores = ZScored("image", scope="slice", nonzero=nonzero)({"image": image})["image"]
    for index in range(4):
        own = ZScored("image", nonzero=nonzero)({"image": image[..., index : index + 1]})["image"]
        torch.testing.assert_close(scores[..., index : index + 1], own, atol=1e-6, rtol=0)


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("scope", ["slice", "volume"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-40, 12345.678])
def test_constant_voxels_become_zero(scope: str, value: float, nonzero: bool) -> None:
    image = torch.full((1, 93, 71, 3), value)
    scores = ZScored("image", scope, nonzero)({"image": image})["image"]  # type: ignore[arg-type]
    assert torch.equal(scores, torch.zeros(1, 93, 71, 3))


def test_the_smallest_change_of_one_voxel_counts() -> None:
    image = torch.full((1, 64, 64, 1), 0.1)
    image[0, 0, 0, 0] = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))
    scores = ZScored("image")({"image": image})["image"]
    assert scores[0, 0, 0, 0] == pytest.approx(64, rel=1e-3)
    assert torch.isfinite(scores).all()


def test_whole_numbers_become_float32() -> None:
    scores = ZScored("image")({"image": torch.tensor([0, 10]).reshape(1, 2, 1, 1)})["image"]
    assert scores.dtype == torch.float32
    assert scores.flatten().tolist() == [-1.0, 1.0]
