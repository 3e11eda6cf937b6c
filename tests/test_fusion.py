from __future__ import annotations

import math

import pytest
import torch

from camtools.fusion import (
    centre_at_threshold,
    geometric_mean,
    layer_sum,
    mean,
    normalize_max,
    normalize_min_max,
    uncertainty_weighted_mean,
)
from tests.reference.fusion import reference_normalize_max, reference_uncertainty_weighted_mean

FUSIONS = [mean, layer_sum, uncertainty_weighted_mean, geometric_mean]


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def test_normalize_max_matches_reference(maps):
    maps = maps * 7
    maps[1, 2] = 0
    result = normalize_max(maps)
    torch.testing.assert_close(result, reference_normalize_max(maps), rtol=0, atol=0)
    assert result.max() == 1
    assert not result[1, 2].any()


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_normalize_max_does_not_depend_on_scale(maps, factor):
    torch.testing.assert_close(normalize_max(maps * factor), normalize_max(maps))


@pytest.mark.parametrize("weighting", ["linear", "exp"])
def test_uncertainty_weighted_mean_matches_reference(maps, weighting):
    maps[0, 0, 0, 0], maps[0, 1, 0, 0] = 0, 1
    maps = maps.double()
    expected = reference_uncertainty_weighted_mean(maps, weighting)
    torch.testing.assert_close(uncertainty_weighted_mean(maps, weighting=weighting), expected, rtol=1e-12, atol=1e-12)


def test_uncertainty_weighted_mean_by_hand():
    maps = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1)
    weight = 1 - math.log(2)
    assert uncertainty_weighted_mean(maps).item() == pytest.approx((1 + 0.5 * weight) / (1 + weight))
    assert uncertainty_weighted_mean(maps, "exp").item() == pytest.approx((1 + 0.5 * 0.5) / 1.5)


@pytest.mark.parametrize("weighting", ["linear", "exp"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_layers_that_agree_keep_their_value(value, weighting):
    result = uncertainty_weighted_mean(torch.full((2, 3, 4, 4), value), weighting=weighting)
    torch.testing.assert_close(result, torch.full((2, 1, 4, 4), value))


def test_uncertainty_weighted_mean_has_no_nan_in_half_precision():
    maps = torch.tensor([0.0, 1.0, 6e-8, 0.9995]).half().view(1, 2, 1, 2)
    result = uncertainty_weighted_mean(maps)
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_uncertainty_weighted_mean_refuses_values_outside_0_1(maps, bad):
    maps[2, 1, 3, 3] = bad
    with pytest.raises(
        ValueError, match=r"probabilities in \[0, 1\], found values from .* call camtools.fusion.normalize"
    ):
        uncertainty_weighted_mean(maps)


def test_uncertainty_weighted_mean_refuses_unknown_weighting(maps):
    with pytest.raises(ValueError, match=r"'linear' .* or 'exp' .*, found 'square'"):
        uncertainty_weighted_mean(maps, weighting="square")


def test_mean_and_sum_by_hand():
    maps = torch.tensor([[1.0, 4.0], [0.0, 2.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(mean(maps), torch.tensor([0.5, 3.0]).view(1, 1, 1, 2))
    torch.testing.assert_close(layer_sum(maps), torch.tensor([1.0, 6.0]).view(1, 1, 1, 2))


@pytest.mark.parametrize("fusion", [*FUSIONS, normalize_max])
def test_batch_equals_single(maps, fusion):
    single = torch.cat([fusion(one[None]) for one in maps])
    torch.testing.assert_close(fusion(maps), single, rtol=0, atol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_shapes(fusion):
    assert fusion(torch.rand(2, 3, 4, 5)).shape == (2, 1, 4, 5)
    assert fusion(torch.rand(2, 3, 4, 5, 6)).shape == (2, 1, 4, 5, 6)
    assert fusion(torch.rand(0, 3, 4, 5)).shape == (0, 1, 4, 5)


def test_normalize_max_of_an_empty_batch():
    assert normalize_max(torch.rand(0, 3, 4, 5)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("fusion", [*FUSIONS, normalize_max])
@pytest.mark.parametrize("shape", [(4, 5), (2, 0, 4, 5)])
def test_wrong_shape(fusion, shape):
    with pytest.raises(ValueError, match=r"expected maps \(B, L, \*spatial\) with at least one layer, found shape"):
        fusion(torch.rand(shape))


def test_normalize_min_max_uses_both_extremes_of_each_map() -> None:
    maps = torch.tensor([[[[2.0, 4.0], [6.0, 2.0]], [[3.0, 3.0], [3.0, 3.0]]]])
    expected = torch.tensor([[[[0.0, 0.5], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    torch.testing.assert_close(normalize_min_max(maps), expected)


def test_geometric_mean_by_hand():
    maps = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.5, 1.0], [1.0, 0.04, 1.0]]).view(1, 3, 1, 3)
    result = geometric_mean(maps).flatten().tolist()
    assert result == pytest.approx([1.0, 0.01 ** (1 / 3), 0.0])
    with pytest.raises(ValueError, match="expected maps >= 0, found values down to -1"):
        geometric_mean(-maps)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.85])
def test_centred_maps_are_one_half_at_the_threshold(maps, threshold):
    one = maps[:, :1].double()
    result = centre_at_threshold(one, threshold)
    for value, centred in zip(one.flatten().tolist(), result.flatten().tolist(), strict=True):
        below = value / (2 * threshold)
        above = 0.5 + (value - threshold) / (2 * (1 - threshold))
        assert centred == pytest.approx(below if value <= threshold else above)
    assert torch.equal(result > 0.5, one > threshold)
    torch.testing.assert_close(centre_at_threshold(one, 0.5), one)


def test_each_map_has_its_own_centre_and_the_ends_stay():
    maps = torch.tensor([0.0, 0.2, 1.0]).repeat(2, 1, 1, 1)
    result = centre_at_threshold(maps, torch.tensor([0.2, 0.6]))
    torch.testing.assert_close(result.flatten(), torch.tensor([0, 0.5, 1, 0, 0.2 / 1.2, 1]))
    for level in (0.0, 1.0):  # the threshold of a map of one value
        extreme = centre_at_threshold(maps, level)
        assert torch.isfinite(extreme).all()
        assert extreme.flatten()[[0, 2]].tolist() == [0.0, 0.5 if level == 1 else 1.0]
    assert not centre_at_threshold(torch.zeros(1, 1, 2, 2), 0.0).any()


def test_centre_names_what_is_outside():
    with pytest.raises(ValueError, match=r"expected maps in \[0, 1\], found values from 0 to 2; call camtools.fusion"):
        centre_at_threshold(torch.tensor([[[[0.0, 2.0]]]]), 0.5)
    with pytest.raises(ValueError, match=r"expected thresholds in \[0, 1\], found values from 1.5 to 1.5"):
        centre_at_threshold(torch.tensor([[[[0.0, 1.0]]]]), 1.5)
