"""The lattice filter against the Gaussian that it approximates."""

from __future__ import annotations

import pytest
import torch

from camtools.crf.lattice import PermutohedralLattice


def square(height: int = 24, width: int = 20) -> torch.Tensor:
    image = torch.full((1, 1, height, width), 0.2)
    image[..., 6:16, 5:14] = 0.8
    return image


def test_lattice_in_one_dimension_by_hand():
    # One standard deviation is 2 / sqrt(3) cells. The points lie in the middle of two neighbouring cells, so they touch
    # three corners, (1/2, 1/2, 0) and (0, 1/2, 1/2). Blurred twice by (1, 2, 1) / 2: 19/16 of a point reaches itself,
    # 15/16 the other, 34/16 in all.
    points = torch.tensor([[0.5, 1.5]]) * 3**0.5 / 2
    filtered = PermutohedralLattice(points).filter(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    torch.testing.assert_close(filtered, torch.tensor([[19.0, 15.0], [30.0, 38.0]]) / 34)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_lattice_is_close_to_the_gaussian(dimensions):
    generator = torch.Generator().manual_seed(dimensions)
    points = 2 * torch.rand(dimensions, 1500, generator=generator)
    values = torch.stack([points[0].sin(), (points[-1] > 1).float()])
    kernel = torch.exp(-torch.cdist(points.T.double(), points.T.double()).square() / 2)
    norm = kernel.sum(1).rsqrt()
    exact = (values.double() * norm) @ kernel * norm
    filtered = PermutohedralLattice(points).filter(values)
    assert (filtered - exact).abs().max() < 0.12
    assert (filtered - exact).abs().mean() < 0.02


def test_lattice_keeps_groups_apart():
    points = 3 * torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    matrix = PermutohedralLattice(points, groups=2).filter(torch.eye(40))
    assert matrix[:20, 20:].abs().max() == 0
    alone = PermutohedralLattice(points[:, :20]).filter(torch.eye(20))
    torch.testing.assert_close(matrix[:20, :20], alone)


def test_lattice_refuses_points_too_far_apart():
    with pytest.raises(ValueError, match=r"expected points that span fewer lattice cells, found .* use larger"):
        PermutohedralLattice(torch.tensor([[0.0, 1e6]]).repeat(5, 1))
