from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from camtools.transforms import AverageAcrossSlicesd
from camtools.transforms.across_slices import average_across_slices
from tests.reference.relabel import reference_average_across_slices


@pytest.mark.parametrize(("channels", "slices", "strength"), [(1, 5, 1.0), (3, 4, 0.3), (1, 1, 1.0), (1, 2, 0.0)])
def test_average_against_the_equation(channels: int, slices: int, strength: float) -> None:
    rng = np.random.default_rng(0)
    values, image = rng.random((2, 3, 4, slices)), rng.normal(size=(channels, 3, 4, slices))
    found = average_across_slices(torch.tensor(values), torch.tensor(image), strength, sigma=0.7)
    expected = reference_average_across_slices(values, image, strength, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_equal_channels_and_offsets_between_channels_change_nothing() -> None:
    values, image = torch.rand(2, 3, 4, 5), torch.rand(1, 3, 4, 5)
    expected = average_across_slices(values, image)
    torch.testing.assert_close(average_across_slices(values, image.repeat(4, 1, 1, 1)), expected)
    torch.testing.assert_close(average_across_slices(values, torch.cat([image, image + 10.0])), expected)


def test_constant_volume_has_no_division_by_zero() -> None:
    values = torch.rand(2, 3, 3, 4)
    found = average_across_slices(values, torch.full((1, 3, 3, 4), 7.0))
    torch.testing.assert_close(found[..., 0], (values[..., 0] + values[..., 1]) / 2)


def test_transform_keeps_geometry_and_sums() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    pred = MetaTensor(torch.rand(2, 3, 4, 5).softmax(dim=0), affine=affine)
    data = {"image": MetaTensor(torch.rand(1, 3, 4, 5)), "pred": pred}
    before = pred.clone()
    found = AverageAcrossSlicesd(strength=0.5)(data)["pred"]
    torch.testing.assert_close(found.sum(dim=0).as_tensor(), torch.ones(3, 4, 5))
    torch.testing.assert_close(found.affine, pred.affine)
    assert torch.equal(pred, before)
    assert not torch.equal(found, before)


@pytest.mark.parametrize(("strength", "sigma"), [(-1.0, 0.5), (1.0, 0.0)])
def test_arguments_outside_their_range(strength: float, sigma: float) -> None:
    transform = AverageAcrossSlicesd(strength, sigma)
    data = {"image": MetaTensor(torch.rand(1, 3, 4, 5)), "pred": MetaTensor(torch.rand(2, 3, 4, 5))}
    with pytest.raises(ValueError, match=rf"Expected a strength .* found {strength} and {sigma}. Correct"):
        transform(data)
