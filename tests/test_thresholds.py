from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from camtools.thresholds import CANDIDATES, DiceSearch, intra_class_variance, midpoint, otsu, search_dice
from tests.reference.thresholds import reference_intra_class_variance, reference_search_dice


@pytest.fixture
def maps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 1, 13, 11, generator=generator)
    maps[1] **= 4
    maps[2, :, 4:8, 3:7] += 1
    maps[3] *= 0.04
    maps[4] = 0.5
    return maps.clamp(0, 1)


@pytest.fixture
def images(maps: torch.Tensor) -> torch.Tensor:
    noise = torch.rand(6, 2, 13, 11, generator=torch.Generator().manual_seed(1))
    return 300 + 40 * (maps > 0.6) + 5 * noise


def test_otsu_matches_scikit_image():
    generator = torch.Generator().manual_seed(2)
    maps = torch.cat([torch.rand(3, 1, 64, 64, generator=generator), torch.randn(3, 1, 64, 64, generator=generator)])
    maps[1] = maps[1] ** 6
    maps[2, :, 20:40, 20:40] += 3
    maps[4] = maps[4] * 1e4 - 7
    expected = [float(threshold_otsu(single[0].double().numpy(), nbins=256)) for single in maps]
    torch.testing.assert_close(otsu(maps), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_otsu_separates_two_levels():
    maps = torch.tensor([[[[0.0, 0.0, 0.0, 0.8]]], [[[5.0, 9.0, 9.0, 9.0]]]])
    thresholds = otsu(maps).reshape(-1, 1, 1, 1)
    assert (maps > thresholds).flatten(1).tolist() == [[False, False, False, True], [False, True, True, True]]


def test_otsu_of_constant_map_gives_an_empty_mask():
    maps = torch.stack([torch.full((1, 3, 3), 0.7), torch.zeros(1, 3, 3)])
    assert otsu(maps).tolist() == pytest.approx([0.7, 0.0])
    assert not (maps > otsu(maps).reshape(-1, 1, 1, 1)).any()


def test_midpoint_by_hand():
    maps = torch.tensor([[[[0.25, 0.5], [0.75, 0.3]]], [[[-2.0, 1.0], [6.0, 0.0]]]])
    assert midpoint(maps).tolist() == [0.5, 2.0]


def test_intra_class_variance_by_hand():
    image = torch.tensor([[[[0.0, 2.0, 10.0, 10.0]]]])
    maps = torch.tensor([[[[0.1, 0.3, 0.5, 0.7]]]])
    # Above 0.2: {2, 10, 10}, variance 128/9; above 0.4: {10, 10} against {0, 2}, mean variance 1/2; above 0.6: 43/9.
    assert intra_class_variance(image, maps, [0.6, 0.2, 0.4]).item() == pytest.approx(0.4)


def test_intra_class_variance_is_not_weighted_by_area():
    image = torch.tensor([[[[0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 9.0, 17.0]]]])
    maps = torch.tensor([[[[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.9]]]])
    # Plain means: 0.3 -> (1 + 16) / 2 = 8.5, 0.7 -> (8.69 + 0) / 2 = 4.35; by area 0.3 would win with 4.75 to 7.61.
    assert intra_class_variance(image, maps, [0.3, 0.7]).item() == pytest.approx(0.7)


def test_intra_class_variance_matches_reference(images, maps):
    expected = [reference_intra_class_variance(i, m, list(CANDIDATES)) for i, m in zip(images, maps, strict=True)]
    torch.testing.assert_close(intra_class_variance(images, maps), torch.tensor(expected))


def test_intra_class_variance_keeps_precision_far_from_zero(images, maps):
    far = images.double() + 1e6
    torch.testing.assert_close(intra_class_variance(far, maps), intra_class_variance(images, maps))


def test_intra_class_variance_falls_back_to_midpoint(images, maps):
    thresholds = intra_class_variance(images, maps)
    torch.testing.assert_close(thresholds[3:5], midpoint(maps)[3:5])
    assert intra_class_variance(images[:1], torch.zeros_like(maps[:1])).item() == 0


def test_candidate_itself_is_below():
    maps = torch.tensor([[[[0.25, 0.25, 0.5, 0.5]]]])
    image = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    # No pixel exceeds 0.5 and none is left below 0.2, so 0.25 is the only candidate allowed.
    assert intra_class_variance(image, maps, [0.2, 0.25, 0.5]).item() == 0.25


@pytest.mark.parametrize("function", [otsu, midpoint])
def test_batched_equals_single(function, maps):
    assert torch.equal(function(maps), torch.cat([function(single[None]) for single in maps]))


def test_intra_class_variance_batched_equals_single(images, maps):
    single = [intra_class_variance(images[i : i + 1], maps[i : i + 1]) for i in range(len(maps))]
    assert torch.equal(intra_class_variance(images, maps), torch.cat(single))


def test_search_dice_matches_reference(maps):
    masks = (maps > 0.37).long()
    masks[2] = (maps[2] > 0.8).long()
    masks[5] = 0
    assert search_dice(maps, masks) == reference_search_dice(maps, masks, list(CANDIDATES))


def test_search_dice_by_hand():
    maps = torch.tensor([[[[0.1, 0.3, 0.6]]], [[[0.1, 0.2, 0.3]]]])
    masks = torch.tensor([[[[0, 0, 255]]], [[[0, 0, 0]]]])
    # 0.25: (2/3 + 0) / 2; 0.5: (1 + 1) / 2; 0.8: (0 + 1) / 2.
    assert search_dice(maps, masks, [0.8, 0.25, 0.5]) == 0.5


def test_default_candidates():
    assert np.allclose(CANDIDATES, np.arange(0.05, 0.96, 0.05))


@pytest.mark.parametrize("function", [otsu, midpoint])
def test_map_errors(function):
    with pytest.raises(
        ValueError, match=r"expected maps of shape \(B, 1, H, W\), found \(2, 3, 4, 4\); fuse the layers"
    ):
        function(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="expected finite maps, found NaN or infinity"):
        function(torch.full((1, 1, 2, 2), torch.nan))


def test_intra_class_variance_errors(images, maps):
    with pytest.raises(
        ValueError, match=r"expected images \(B, C, H, W\) that match maps \(6, 1, 13, 11\), found \(5, "
    ):
        intra_class_variance(images[:5], maps)
    with pytest.raises(ValueError, match="expected finite voxels, found NaN or infinity in images"):
        intra_class_variance(images.log() * torch.inf, maps)
    with pytest.raises(ValueError, match=r"expected maps in \[0, 1\], found 0 to 3; .*normalize_max"):
        intra_class_variance(images, maps.round() * 3)
    with pytest.raises(ValueError, match="expected at least one candidate threshold, found none"):
        intra_class_variance(images, maps, [])


def test_search_dice_errors(maps):
    with pytest.raises(ValueError, match=r"expected masks of the shape of maps \(6, 1, 13, 11\).*found \(6, 13, 11\)"):
        search_dice(maps, maps[:, 0])
    with pytest.raises(ValueError, match="at least one slice"):
        search_dice(maps[:0], maps[:0])
    with pytest.raises(ValueError, match=r"expected maps in \[0, 1\], found -1 to 1"):
        search_dice(maps.round() * 2 - 1, maps)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_cuda(images, maps):
    torch.testing.assert_close(otsu(maps.cuda()).cpu(), otsu(maps))
    torch.testing.assert_close(midpoint(maps.cuda()).cpu(), midpoint(maps))
    torch.testing.assert_close(
        intra_class_variance(images.cuda(), maps.cuda()).cpu(), intra_class_variance(images, maps)
    )
    masks = maps > 0.37
    assert search_dice(maps.cuda(), masks.cuda()) == search_dice(maps, masks)


def test_search_over_volumes_equals_the_search_over_all_slices(maps):
    masks = maps > 0.6
    search = DiceSearch()
    for one, truth in zip(maps.split(2), masks.split(2), strict=True):
        search.add(one, truth)
    assert search.best() == search_dice(maps, masks)
    assert search.dice.shape == (len(maps), len(CANDIDATES))
    for column, candidate in enumerate(search.candidates):
        shared = ((maps > candidate) & (masks != 0)).flatten(1).sum(1)
        size = (maps > candidate).flatten(1).sum(1) + (masks != 0).flatten(1).sum(1)
        expected = torch.where(size > 0, 2 * shared / size.clamp(min=1), 1.0)
        torch.testing.assert_close(search.dice[:, column].float(), expected)


def test_search_without_slices_is_refused():
    with pytest.raises(ValueError, match="expected at least one slice to search a threshold on, found none"):
        DiceSearch().best()
    assert DiceSearch([0.5, 0.2]).dice.shape == (0, 2)


def test_mean_dice_of_each_candidate_by_hand():
    search = DiceSearch([0.5, 0.2])
    search.add(torch.tensor([[[[0.1, 0.3, 0.7, 0.9]]]]), torch.tensor([[[[0, 1, 1, 1]]]]))
    search.add(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))  # empty and predicted so: 1
    assert search.mean_dice() == pytest.approx({0.2: 1.0, 0.5: (0.8 + 1) / 2})
