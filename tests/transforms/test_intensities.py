"""Intensities of slices: camtools.transforms.intensities."""

from __future__ import annotations

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
