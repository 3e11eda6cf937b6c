"""Interpolation within slices: camtools.transforms.in_plane."""

from __future__ import annotations

import pytest
import torch

from camtools.transforms.in_plane import Mode, sample_in_plane


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_axes_that_keep_their_pixels_are_not_computed(mode: Mode) -> None:
    volume = torch.rand(2, 5, 4, 3)
    assert sample_in_plane(volume, (1.0, 1.0), (5, 4), mode) is volume
    turned = sample_in_plane(volume, (1.0, 0.5), (5, 7), mode)
    for row in range(5):
        expected = sample_in_plane(volume[:, row : row + 1], (1.0, 0.5), (1, 7), mode)
        assert torch.equal(turned[:, row : row + 1], expected)


def test_one_step_further_repeats_the_last_pixel() -> None:
    volume = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    assert sample_in_plane(volume, (1.0, 1.0), (3, 1), "bilinear").flatten().tolist() == [1, 2, 2]
    assert sample_in_plane(volume, (1.0, 1.0), (1, 1), "bilinear").flatten().tolist() == [1]
