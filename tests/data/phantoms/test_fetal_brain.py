"""Phantoms: the same seed gives the same volume, the geometry is a thick oblique stack, intensity does not solve it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label

from camtools.data.phantoms import Phantom, make_phantom

SPACING = (1.0, 1.0, 6.5)


@pytest.fixture(scope="module")
def brains() -> list[Phantom]:
    return [make_phantom("fetal_brain", seed) for seed in range(12)]


def slice_direction(affine: np.ndarray[Any, Any]) -> int:
    return int(np.abs(affine[:3, 2]).argmax())


def best_interval_dice(values: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], levels: int = 128) -> float:
    """Dice of the best interval of intensities ``[low, high]``, one-sided ones included, chosen on the mask itself."""
    edges = np.linspace(values.min(), values.max(), levels + 1)
    inside = np.concatenate([[0], np.histogram(values[mask], edges)[0].cumsum()])
    chosen = np.concatenate([[0], np.histogram(values, edges)[0].cumsum()])
    low, high = np.triu_indices(levels + 1, k=1)
    dice = 2 * (inside[high] - inside[low]) / (chosen[high] - chosen[low] + mask.sum())
    return float(dice.max())


def scaled(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = np.minimum(image / np.percentile(image, 99.5), 1.0)
    return result


def test_interval_search_by_hand() -> None:
    values = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    assert best_interval_dice(values, values == 1) == 1.0
    # The best choice takes both 1s for the one that is in the mask: 2 * 1 / (2 + 1).
    assert best_interval_dice(values, np.array([False, True, False, False, False])) == pytest.approx(2 / 3)


def test_types_and_values(brains: list[Phantom]) -> None:
    for phantom in brains:
        types = [part.dtype.name for part in (phantom.image, phantom.mask, phantom.affine)]
        assert types == ["int16", "uint8", "float64"]
        assert phantom.image.shape == phantom.mask.shape
        assert phantom.image.min() >= 0
        assert 300 < phantom.image.max() < 3000
        assert set(np.unique(phantom.mask)) == {0, 1}


def test_shapes_differ(brains: list[Phantom]) -> None:
    shapes = {phantom.image.shape for phantom in brains}
    assert len(shapes) > 8
    for size_x, size_y, size_z in shapes:
        assert size_x != size_y
        assert 80 <= min(size_x, size_y) <= max(size_x, size_y) <= 112
        assert 16 <= size_z <= 24


def test_affines_are_oblique(brains: list[Phantom]) -> None:
    for phantom in brains:
        matrix = phantom.affine[:3, :3]
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=0), SPACING, atol=1e-9)
        directions = matrix / SPACING
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
        largest = np.abs(directions).max(axis=0)
        assert largest.min() < 0.9999
        assert largest.min() > np.cos(0.41)
    assert {slice_direction(phantom.affine) for phantom in brains} == {0, 1, 2}
    assert {np.sign(np.linalg.det(phantom.affine[:3, :3])) for phantom in brains} == {-1.0, 1.0}


def test_a_quarter_of_the_slices_shows_the_brain(brains: list[Phantom]) -> None:
    tags = [tag for phantom in brains for tag in phantom.slice_labels]
    assert 0.2 <= np.mean(tags) <= 0.32
    for phantom in brains:
        assert phantom.slice_labels[0] == 0 or phantom.slice_labels[-1] == 0
        assert phantom.slice_labels == [int(phantom.mask[..., z].max()) for z in range(phantom.mask.shape[2])]


def test_one_brain_of_the_right_size(brains: list[Phantom]) -> None:
    centres = []
    for phantom in brains:
        assert label(phantom.mask)[1] == 1
        x, y = np.nonzero(phantom.mask[..., phantom.mask.sum((0, 1)).argmax()])
        assert 30 < np.ptp(x) < 58
        assert 30 < np.ptp(y) < 58
        assert not phantom.mask[[0, -1]].any()
        assert not phantom.mask[:, [0, -1]].any()
        areas = phantom.mask.mean((0, 1))
        assert areas[areas > 0].min() > 0.01
        centres.append((x.mean() / phantom.mask.shape[0], y.mean() / phantom.mask.shape[1]))
    assert np.std(centres, axis=0).min() > 0.04


def test_intensity_alone_does_not_solve_it(brains: list[Phantom]) -> None:
    values = [scaled(phantom.image) for phantom in brains]
    masks = [phantom.mask > 0 for phantom in brains]
    pooled = best_interval_dice(np.concatenate([v.ravel() for v in values]), np.concatenate([m.ravel() for m in masks]))
    shown = [(v[..., z], m[..., z]) for v, m in zip(values, masks, strict=True) for z in np.flatnonzero(m.any((0, 1)))]
    slices = best_interval_dice(
        np.concatenate([v.ravel() for v, _ in shown]), np.concatenate([m.ravel() for _, m in shown])
    )
    assert pooled < 0.5
    assert slices < 0.5
    # Not even with a threshold of its own for every volume.
    assert max(best_interval_dice(v, m) for v, m in zip(values, masks, strict=True)) < 0.5


def test_the_skull_is_a_dark_edge_around_the_brain(brains: list[Phantom]) -> None:
    in_plane = np.ones((3, 3, 1), bool)
    for phantom in brains:
        brain = phantom.mask > 0
        rim = brain & ~binary_erosion(brain, in_plane, iterations=3)
        skull = binary_dilation(brain, in_plane, iterations=2) & ~brain
        assert phantom.image[skull].mean() < 0.6 * phantom.image[rim].mean()
