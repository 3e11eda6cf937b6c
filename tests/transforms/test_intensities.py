"""Intensities of slices: camtools.transforms.intensities."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from camtools.transforms import (
    ScaleSlicesd,
)


def test_each_slice_is_scaled_by_its_own_extremes() -> None:
    volume = MetaTensor(torch.tensor([[[[2.0, 5.0], [4.0, 5.0]]]]), affine=torch.eye(4))
    scaled = ScaleSlicesd("image")({"image": volume})["image"]
    assert scaled.tolist() == [[[[0.0, 0.0], [1.0, 0.0]]]]
    torch.testing.assert_close(scaled.affine, volume.affine)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 2, 1), (0, 3, 1, 2), (0, 2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16])
def test_the_same_bits_in_every_memory_order(order: tuple[int, ...], dtype: torch.dtype) -> None:
    """The volume lies in memory with its axes in this order."""
    torch.manual_seed(0)
    values = (torch.randn(2, 9, 7, 5) * 100).to(dtype)
    values[:, :, :, 3] = 7  # a constant slice
    back = [order.index(axis) for axis in range(4)]
    volume = MetaTensor(values.permute(order).contiguous().permute(back), affine=torch.eye(4))
    before = volume.clone()
    low = values.amin(dim=(1, 2), keepdim=True)
    expected = (values - low) / (values.amax(dim=(1, 2), keepdim=True) - low).clamp_min(1e-8)
    scaled = ScaleSlicesd("image")({"image": volume})["image"]
    assert isinstance(scaled, MetaTensor)
    assert scaled.dtype == expected.dtype
    assert torch.equal(scaled.as_tensor(), expected)
    assert torch.equal(volume, before)
