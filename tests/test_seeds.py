from __future__ import annotations

import dataclasses

import pytest
import torch

from camtools.seeds import Seeds, seeds_from_cam
from tests.reference.seeds import reference_largest_component, reference_seeds


def pixels(mask: torch.Tensor, index: int = 0) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in mask[index, 0].nonzero().tolist()}


def drawing(*rows: str) -> torch.Tensor:
    """One map from text: # is 1, anything else 0."""
    return torch.tensor([[[[float(mark == "#") for mark in row] for row in rows]]])


def test_centroid_and_grown_corners_by_hand():
    cam = torch.zeros(1, 1, 20, 30)
    cam[..., 8:13, 10:17] = 0.8
    seeds = seeds_from_cam(cam, 0.5)
    assert pixels(seeds.foreground) == {(10, 13)}
    assert pixels(seeds.background) == {(3, 5), (3, 21), (17, 5), (17, 21)}
    assert torch.equal(seeds.component, cam > 0.5)


def test_corners_are_clamped_to_the_slice():
    cam = torch.zeros(1, 1, 12, 12)
    cam[..., 2:11, 3:10] = 1
    assert pixels(seeds_from_cam(cam, 0.5).background) == {(0, 0), (0, 11), (11, 0), (11, 11)}


def test_threshold_itself_is_not_foreground():
    seeds = seeds_from_cam(torch.full((1, 1, 3, 3), 0.5), 0.5)
    assert not seeds.component.any()


def test_foreground_moves_into_a_concave_component():
    cam = drawing(
        "..........",
        ".#######..",
        ".#........",
        ".#........",
        ".#........",
        ".#######..",
        "..........",
    )
    # 17 pixels; centroid (3, 47/17 = 2.76) -> (3, 3), outside; nearest pixels are (1, 3), (3, 1), (5, 3) at distance 2.
    seeds = seeds_from_cam(cam, 0.5, margin=0)
    assert pixels(seeds.foreground) == {(1, 3)}
    # All corners of the box are in the component; farthest from the seed outside it is the last pixel.
    assert pixels(seeds.background) == {(6, 9)}


def test_corner_inside_the_component_is_left_out():
    cam = drawing(
        "##....",
        "###...",
        "......",
    )
    assert pixels(seeds_from_cam(cam, 0.5, margin=1).background) == {(0, 3), (2, 0), (2, 3)}


def test_component_at_all_corners_takes_the_farthest_pixel_outside():
    cam = drawing(
        "#######",
        "#.....#",
        "#######",
    )
    seeds = seeds_from_cam(cam, 0.5)
    # Centroid (1, 3) is outside; the nearest pixels are (0, 3) and (2, 3); farthest from (0, 3) are (1, 1) and (1, 5).
    assert pixels(seeds.foreground) == {(0, 3)}
    assert pixels(seeds.background) == {(1, 1)}


def test_component_that_fills_the_slice_has_no_background():
    seeds = seeds_from_cam(torch.ones(1, 1, 5, 5), 0.5)
    assert pixels(seeds.foreground) == {(2, 2)}
    assert not seeds.background.any()


def test_empty_map_has_no_seeds():
    seeds = seeds_from_cam(torch.zeros(2, 1, 5, 5), 0.0)
    assert not seeds.foreground.any()
    assert not seeds.background.any()
    assert not seeds.component.any()


def test_largest_component_is_kept_and_touches_along_corners():
    cam = drawing(
        "##.....",
        "##.....",
        "......#",
        ".....#.",
        "....#..",
        "...#...",
        "..#....",
    )
    assert pixels(seeds_from_cam(cam, 0.5).component) == {(2, 6), (3, 5), (4, 4), (5, 3), (6, 2)}


def test_first_of_equal_components_is_kept():
    cam = drawing("##..##", "......", "##....")
    assert pixels(seeds_from_cam(cam, 0.5).component) == {(0, 0), (0, 1)}


def test_components_do_not_reach_into_the_next_slice():
    cam = torch.zeros(3, 1, 6, 6)
    cam[0, 0, :2, :3] = 1
    cam[1, 0, :3, :3] = 1
    cam[1, 0, 5, 5] = 1
    cam[2, 0, 5, 5] = 1
    assert [len(pixels(seeds_from_cam(cam, 0.5).component, i)) for i in range(3)] == [6, 9, 1]


@pytest.mark.parametrize("margin", [0, 2, 5])
def test_matches_reference(margin):
    generator = torch.Generator().manual_seed(margin)
    cam = torch.rand(24, 1, 15, 19, generator=generator)
    thresholds = torch.linspace(0.02, 0.98, 24)
    seeds = seeds_from_cam(cam, thresholds, margin)
    for i, threshold in enumerate(thresholds):
        expected = reference_seeds(cam[i, 0], threshold.item(), margin)
        assert (pixels(seeds.foreground, i), pixels(seeds.background, i)) == expected
        assert pixels(seeds.component, i) == reference_largest_component(cam[i, 0] > threshold)


def test_batched_equals_single():
    cam = torch.rand(5, 1, 17, 14, generator=torch.Generator().manual_seed(3))
    batched = seeds_from_cam(cam, 0.6)
    for i in range(5):
        single = seeds_from_cam(cam[i : i + 1], 0.6)
        for field in dataclasses.fields(Seeds):
            assert torch.equal(getattr(batched, field.name)[i : i + 1], getattr(single, field.name))


def test_one_threshold_equals_the_same_for_each_slice():
    cam = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(4))
    assert torch.equal(seeds_from_cam(cam, 0.7).component, seeds_from_cam(cam, torch.full((3,), 0.7)).component)


def test_seeds_cannot_be_reassigned():
    seeds = seeds_from_cam(torch.ones(1, 1, 3, 3), 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'foreground'"):
        seeds.foreground = seeds.background  # type: ignore[misc]


def test_errors():
    cam = torch.rand(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"expected cam of shape \(B, 1, H, W\), found \(2, 4, 4\)"):
        seeds_from_cam(cam[:, 0], 0.5)
    with pytest.raises(ValueError, match="expected finite cam, found NaN or infinity"):
        seeds_from_cam(cam / 0, 0.5)
    with pytest.raises(ValueError, match="expected margin >= 0 pixels, found -1"):
        seeds_from_cam(cam, 0.5, margin=-1)
    with pytest.raises(ValueError, match=r"expected one threshold or one per slice, shape \(2,\), found \(3,\)"):
        seeds_from_cam(cam, torch.zeros(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_cuda():
    cam = torch.rand(8, 1, 31, 23, generator=torch.Generator().manual_seed(5))
    on_cuda, on_cpu = seeds_from_cam(cam.cuda(), 0.6), seeds_from_cam(cam, 0.6)
    for field in dataclasses.fields(Seeds):
        assert getattr(on_cuda, field.name).is_cuda
        assert torch.equal(getattr(on_cuda, field.name).cpu(), getattr(on_cpu, field.name))
