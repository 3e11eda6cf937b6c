"""camtools.patches: positions, cutting out and stitching, shares of classes."""

from __future__ import annotations

import pytest
import torch

from camtools.patches import PatchGrid
from tests.reference.patches import first_pixels


@pytest.mark.parametrize(("size", "stride"), [(112, 56), (5, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(("height", "width"), [(7, 13), (112, 300), (2, 3), (4, 5)])
def test_corners_are_those_of_the_reference(size: int, stride: int, height: int, width: int) -> None:
    expected = [(y, x) for y in first_pixels(height, size, stride) for x in first_pixels(width, size, stride)]
    assert PatchGrid(size, stride).corners(height, width) == expected


def test_glas_image_has_117_patches() -> None:
    corners = PatchGrid().corners(522, 775)
    assert len(corners) == 9 * 13
    assert corners[-1] == (522 - 112, 775 - 112)


def test_extract_cuts_at_the_corners() -> None:
    images = torch.rand(2, 3, 9, 14)
    grid = PatchGrid(5, 3)
    patches = grid.extract(images)
    assert patches.shape == (2, 3 * 4, 3, 5, 5)
    for index, (row, column) in enumerate(grid.corners(9, 14)):
        assert torch.equal(patches[:, index], images[:, :, row : row + 5, column : column + 5])


@pytest.mark.parametrize("shape", [(9, 14), (5, 5), (3, 20), (2, 2)])
def test_stitch_undoes_extract_for_any_size(shape: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *shape)
    grid = PatchGrid(5, 3)
    torch.testing.assert_close(grid.stitch(grid.extract(images), *shape), images)


def test_overlaps_are_averaged() -> None:
    patches = torch.tensor([1.0, 4.0]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2)
    stitched = PatchGrid(2, 1).stitch(patches, 2, 3)
    assert stitched[0, 0].tolist() == [[1.0, 2.5, 4.0], [1.0, 2.5, 4.0]]


def test_small_images_continue_their_edge() -> None:
    patch = PatchGrid(3, 1).extract(torch.tensor([[[[1.0, 2.0]]]]))
    assert patch[0, 0, 0].tolist() == [[1.0, 2.0, 2.0]] * 3


def test_shares_of_classes_count_the_pixels_of_the_image_alone() -> None:
    labels = torch.tensor([[[[0, 1, 2], [0, 1, 1]]]])
    shares = PatchGrid(3, 2).class_shares(labels, 3)
    torch.testing.assert_close(shares, torch.tensor([[[2 / 6, 3 / 6, 1 / 6]]]))
    shares = PatchGrid(2, 1).class_shares(labels, 3)
    torch.testing.assert_close(shares, torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.75, 0.25]]]))


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (4, 5), (4, 0)])
def test_gaps_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"leave no gap, found size={size}, stride={stride}"):
        PatchGrid(size, stride)


def test_wrong_patches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected patches \(B, 2, K, 2, 2\) for an image of 2 x 3 pixels"):
        PatchGrid(2, 1).stitch(torch.zeros(1, 3, 1, 2, 2), 2, 3)
