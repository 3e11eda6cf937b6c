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


def test_smooth_means_by_hand() -> None:
    volume = torch.tensor([0.0, 8.0, 0.0, 8.0, 0.0]).view(1, 5, 1, 1)
    # at every second pixel: weights 1/2, 1, 1/2, without those beyond the edge
    found = sample_in_plane(volume, (2.0, 1.0), (3, 1), "smooth").flatten()
    torch.testing.assert_close(found, torch.tensor([4.0 / 1.5, 4.0, 4.0 / 1.5]))
    assert sample_in_plane(volume, (2.0, 1.0), (3, 1), "bilinear").flatten().tolist() == [0, 0, 0]


def test_smooth_is_bilinear_on_finer_grids_and_keeps_constants_on_coarser_ones() -> None:
    volume = torch.rand(1, 6, 5, 2)
    finer = ((0.5, 0.4), (11, 11))
    assert torch.equal(sample_in_plane(volume, *finer, "smooth"), sample_in_plane(volume, *finer, "bilinear"))
    constant = torch.full((2, 9, 7, 2), 3.0)
    torch.testing.assert_close(sample_in_plane(constant, (2.7, 1.5), (4, 5), "smooth"), torch.full((2, 4, 5, 2), 3.0))


def test_smooth_averages_noise() -> None:
    noise = torch.randn(1, 200, 200, 1, generator=torch.Generator().manual_seed(0))
    grid = ((4.0, 4.0), (50, 50))
    assert sample_in_plane(noise, *grid, "smooth").std() < 0.4 * sample_in_plane(noise, *grid, "bilinear").std()
