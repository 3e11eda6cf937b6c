"""The gland phantom: instances that touch, patches of every tag, and a colour that gland and stroma share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from camtools.data import load_datalist, read_volume
from camtools.data.phantoms import Photograph, _gland_layout, _tissue, make_phantom, write_phantoms
from camtools.data.phantoms._microscope import photograph

Array = np.ndarray[Any, Any]
SIDE = 48


@pytest.fixture(scope="module")
def photographs() -> list[Photograph]:
    return [make_phantom("gland", seed) for seed in range(24)]


def touching_pairs(mask: Array) -> set[tuple[int, int]]:
    """Numbers of the instances that share an edge of a pixel."""
    pairs = set()
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        differ = (one != other) & (one > 0) & (other > 0)
        pairs |= {(min(a, b), max(a, b)) for a, b in zip(one[differ].tolist(), other[differ].tolist(), strict=True)}
    return pairs


def at_border(mask: Array) -> set[int]:
    ends = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return set(ends.tolist()) - {0}


def patch_shares(mask: Array, stride: int) -> Array:
    """Share of gland in every patch of side 48, ``stride`` pixels apart."""
    patches = np.lib.stride_tricks.sliding_window_view(mask > 0, (SIDE, SIDE))[::stride, ::stride]
    shares: Array = patches.mean(axis=(2, 3)).ravel()
    return shares


def fit_colour(colours: Array, truth: Array) -> Array:
    """Weights of a logistic regression on a constant and the colours, by Newton's method."""
    design = np.column_stack([np.ones(len(colours)), colours])
    weights = np.zeros(design.shape[1])
    for _ in range(15):
        probability = 1 / (1 + np.exp(-design @ weights))
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-3 * np.eye(weights.size)
        weights += np.linalg.solve(curvature, design.T @ (truth - probability))
    return weights


def mean_iou(guess: Array, truth: Array) -> float:
    """Mean of the IoU of gland and the IoU of stroma."""
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in ((guess, truth), (~guess, ~truth))]))


def colour_iou(training: list[tuple[Array, Array]], test: list[tuple[Array, Array]]) -> float:
    """Mean IoU of a regression on RGB at its best threshold, chosen on the test images themselves."""
    weights = fit_colour(*(np.concatenate(part)[::5] for part in zip(*training, strict=True)))
    colours, truth = (np.concatenate(part) for part in zip(*test, strict=True))
    score = weights[0] + colours @ weights[1:]
    return max(mean_iou(score > threshold, truth) for threshold in np.percentile(score, range(5, 96, 10)))


def as_pixels(phantom: Photograph) -> tuple[Array, Array]:
    return phantom.image.reshape(-1, 3) / 255 - 0.5, phantom.mask.ravel() > 0


def test_helpers_by_hand() -> None:
    mask = np.array([[1, 1, 0], [2, 0, 3], [2, 0, 3]])
    assert touching_pairs(mask) == {(1, 2)}
    assert at_border(mask) == {1, 2, 3}
    assert at_border(np.pad(mask, 1)) == set()
    assert mean_iou(np.array([True, True, False]), np.array([True, False, False])) == pytest.approx(1 / 2)
    assert patch_shares(np.eye(SIDE + 1), 1).tolist() == pytest.approx([1 / 48, 47 / 48**2, 47 / 48**2, 1 / 48])


def test_the_colour_test_can_fail(photographs: list[Photograph]) -> None:
    """Glands with half the red of the lamp taken away are found by the same regression."""
    pixels = [as_pixels(phantom) for phantom in photographs[:8]]
    tinted = [(colours - 0.5 * truth[:, None] * [1, 0, 0], truth) for colours, truth in pixels]
    assert colour_iou(tinted[:4], tinted[4:]) > 0.9


def test_same_seed_same_phantom() -> None:
    first, second, other = (make_phantom("gland", seed) for seed in (5, 5, 6))
    assert isinstance(first, Photograph)
    for name in ("image", "mask"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


def test_types_and_sizes(photographs: list[Photograph]) -> None:
    for phantom in photographs:
        assert (phantom.image.dtype, phantom.mask.dtype) == (np.uint8, np.uint8)
        rows, columns, channels = phantom.image.shape
        assert phantom.mask.shape == (rows, columns)
        assert channels == 3
        assert 144 <= rows <= 176 <= columns <= 224
        assert phantom.slice_labels == [1]
    assert len({phantom.mask.shape for phantom in photographs}) > 12
    assert Photograph(phantom.image, np.zeros_like(phantom.mask)).slice_labels == [0]


def test_every_number_is_one_gland(photographs: list[Photograph]) -> None:
    for phantom in photographs:
        count = phantom.mask.max()
        assert np.unique(phantom.mask).tolist() == list(range(count + 1))
        for instance in range(1, count + 1):
            assert ndimage.label(phantom.mask == instance)[1] == 1
            assert (phantom.mask == instance).sum() >= 60


def test_glands_touch_and_are_cut(photographs: list[Photograph]) -> None:
    assert np.mean([len(touching_pairs(phantom.mask)) > 0 for phantom in photographs]) > 0.6
    assert sum(len(touching_pairs(phantom.mask)) for phantom in photographs) > 30
    cut = [len(at_border(phantom.mask)) / phantom.mask.max() for phantom in photographs]
    assert min(cut) > 0.1
    assert np.mean(cut) < 0.9


def test_size_and_shape_of_whole_glands(photographs: list[Photograph]) -> None:
    """Axes of the ellipse with the same second moments, and how much of it a gland leaves free (bent ones)."""
    axes, filled = [], []
    for phantom in photographs:
        for instance in set(range(1, phantom.mask.max() + 1)) - at_border(phantom.mask):
            covariance = np.cov(np.argwhere(phantom.mask == instance).T)
            axes.append(4 * np.sqrt(np.linalg.eigvalsh(covariance)))
            filled.append((phantom.mask == instance).sum() / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
    short, long = np.transpose(axes)
    assert short.min() > 20
    assert 30 < np.median(short) < 55
    assert 40 < np.median(long) < 80
    assert (long / short).min() < 1.15
    assert (long / short).max() > 2
    assert min(filled) < 0.95


def test_half_is_gland_and_patches_have_every_tag(photographs: list[Photograph]) -> None:
    cover = [(phantom.mask > 0).mean() for phantom in photographs]
    assert 0.35 < np.mean(cover) < 0.55
    assert min(cover) > 0.2
    assert max(cover) < 0.7
    assert max(cover) > 1.3 * min(cover)
    shares = [patch_shares(phantom.mask, stride=8) for phantom in photographs]
    assert all((share < 0.05).any() and (share > 0.05).any() for share in shares)
    assert np.mean([(share > 0.95).any() for share in shares]) > 0.3
    on_grid = np.concatenate([patch_shares(phantom.mask, stride=24) for phantom in photographs])
    assert 0.1 < (on_grid < 0.05).mean() < 0.35
    assert (on_grid > 0.95).mean() > 0.005


def test_colour_alone_does_not_solve_it(photographs: list[Photograph]) -> None:
    pixels = [as_pixels(phantom) for phantom in photographs]
    assert colour_iou(pixels[:12], pixels[12:]) < 0.55


def test_the_stroma_is_as_dark_and_as_pale_as_the_glands(photographs: list[Photograph]) -> None:
    dark, pale = [], []
    for phantom in photographs:
        grey, gland = phantom.image.mean(axis=2), phantom.mask > 0
        dark.append(1 - gland[grey < np.percentile(grey, 10)].mean())
        pale.append(1 - gland[grey > np.percentile(grey, 90)].mean())
    # A third of the darkest pixels and a sixth of the palest lie in the stroma.
    assert np.mean(dark) > 0.3
    assert np.mean(pale) > 0.15


def test_a_ring_of_nuclei_around_pale_cells(photographs: list[Photograph]) -> None:
    """In every photograph the rim of the glands is darker than their middle."""
    for phantom in photographs:
        depth = ndimage.distance_transform_edt(phantom.mask > 0)
        grey = phantom.image.mean(axis=2)
        rim, middle = grey[(depth >= 2) & (depth <= 4)], grey[depth > 8]
        assert rim.mean() < middle.mean() - 5


def test_stain_and_brightness_vary(photographs: list[Photograph]) -> None:
    means = np.array([phantom.image.mean(axis=(0, 1)) for phantom in photographs])
    assert means.std(axis=0).min() > 5
    # Pink to purple: green is what both dyes take away.
    assert (means[:, 1] < means[:, 0] - 15).all()
    assert (means[:, 1] < means[:, 2] - 15).all()


def test_small_and_second_components_are_dropped() -> None:
    labels = np.zeros((30, 40), np.intp)
    labels[:7, :8] = 1  # 56 pixels
    labels[10:20, :8], labels[10:16, 20:30] = 2, 2  # 80 and 60 pixels
    labels[20:26, 20:30] = 3
    mask = _gland_layout._connected(labels)
    assert mask.dtype == np.uint8
    expected = np.zeros((30, 40))
    expected[10:20, :8], expected[20:26, 20:30] = 1, 2
    np.testing.assert_array_equal(mask, expected)


def test_gap_between_outlines_by_hand() -> None:
    first = _gland_layout.Outline(np.array([[0.0, 0.0], [0.0, 10.0]]), np.array([3.0, 4.0]))
    second = _gland_layout.Outline(np.array([[6.0, 18.0]]), np.array([5.0]))
    gap, direction = _gland_layout._gap(first, second)
    assert gap == pytest.approx(1)  # a 6-8-10 triangle, less 4 and 5
    np.testing.assert_allclose(direction, [-0.6, -0.8])


def test_cells_by_hand() -> None:
    weight = _tissue.cells((9, 11), np.array([[4.0, 5.0]]), np.array([[3.0, 1.0]]), np.array([0.0]))
    # Along the row the ramp of one pixel is stretched by 3; across it is one pixel wide.
    assert weight[4].tolist() == pytest.approx([0, 1 / 6, 1 / 2, 5 / 6, 1, 1, 1, 5 / 6, 1 / 2, 1 / 6, 0])
    assert weight[2, 5] == weight[6, 5] == 0
    assert weight[3, 5] == weight[5, 5] == pytest.approx(0.5)
    turned = _tissue.cells((11, 9), np.array([[5.0, 4.0]]), np.array([[3.0, 1.0]]), np.array([np.pi / 2]))
    np.testing.assert_allclose(turned, weight.T, atol=1e-6)


def test_direction_points_uphill() -> None:
    rows, columns = np.indices((20, 30), dtype=np.float32)
    np.testing.assert_allclose(_tissue.direction(columns)[5:-5, 5:-5], 0, atol=1e-4)
    np.testing.assert_allclose(_tissue.direction(rows)[5:-5, 5:-5], np.pi / 2, atol=1e-4)
    np.testing.assert_allclose(_tissue.direction(rows + columns)[5:-5, 5:-5], np.pi / 4, atol=1e-3)


def test_depth_ends_where_glands_touch() -> None:
    glands = np.zeros((30, 40), np.uint8)
    glands[5:25, 5:20], glands[5:25, 20:35] = 1, 2
    depth = _tissue.empty_tissue(glands).depth
    assert depth[15, 19:21].max() < 1.5
    assert depth[15, 12] > 5
    assert depth[15, 27] > 5
    assert depth[2, 20] < -1


def test_light_falls_exponentially_with_dye() -> None:
    def light(haematoxylin: float, eosin: float) -> Array:
        tissue = _tissue.empty_tissue(np.zeros((40, 50), np.uint8))
        tissue.haematoxylin[...], tissue.eosin[...] = haematoxylin, eosin
        mean: Array = photograph(np.random.default_rng(3), tissue).mean(axis=(0, 1))
        return mean

    clear = light(0, 0)
    assert clear.min() > 220
    for dyes in ((0.4, 0), (0, 0.4)):
        once, twice = np.log(clear / light(*dyes)), np.log(clear / light(2 * dyes[0], 2 * dyes[1]))
        np.testing.assert_allclose(twice, 2 * once, rtol=0.03)
    red, green, blue = light(0.5, 0.1)
    assert green < red < blue  # purple
    red, green, blue = light(0.0, 0.5)
    assert green < blue < red  # pink


def test_dataset_folder(tmp_path: Path) -> None:
    path = write_phantoms("gland", tmp_path / "glands", n=3, seed=1)
    content = json.loads(path.read_text())
    assert content["labels"] == {"0": "background", "1": "gland"}
    assert content["training"] == [
        {"image": "images/gland_000.png", "label": "labels/gland_000.png", "slice_labels": [1]}
    ]
    names = sorted(file.relative_to(path.parent).as_posix() for file in path.parent.rglob("*.png"))
    assert names == [f"{folder}/gland_{i:03d}.png" for folder in ("images", "labels") for i in range(3)]
    for split in ("training", "validation", "test"):
        (item,) = load_datalist(path.parent, split)
        with Image.open(item["image"]) as image, Image.open(item["label"]) as mask:
            assert (image.mode, mask.mode) == ("RGB", "L")
            assert image.size == mask.size
            pixels = np.asarray(mask)
        assert pixels.max() > 1
        volume, glands = read_volume(item["image"]), read_volume(item["label"])
        assert volume.shape == (3, pixels.shape[1], pixels.shape[0], 1)
        assert glands.shape == (1, *volume.shape[1:])
        assert int((glands > 0.5).sum()) == (pixels > 0).sum()
