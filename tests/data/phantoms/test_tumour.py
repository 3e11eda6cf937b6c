"""The tumour phantom: an axial head in any storage order, tags worth learning, and nothing a threshold would solve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from camtools.data import load_datalist, read_volume
from camtools.data.geometry import slice_axis_of
from camtools.data.phantoms import Phantom, make_phantom, tumour, write_phantoms
from tests.data.phantoms.test_fetal_brain import best_interval_dice, scaled

SPACING = (1.0, 1.0, 5.0)


@pytest.fixture(scope="module")
def heads() -> list[Phantom]:
    return [make_phantom("tumour", seed) for seed in range(24)]


def upright(phantom: Phantom) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Image and mask with axes that point right, front and up."""
    parts = (nib.Nifti1Image(part, phantom.affine) for part in (phantom.image, phantom.mask))
    image, mask = (np.asarray(nib.as_closest_canonical(part).dataobj) for part in parts)
    return image, mask


def test_same_seed_same_phantom() -> None:
    first, second, other = (make_phantom("tumour", seed) for seed in (5, 5, 6))
    for name in ("image", "mask", "affine"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert not np.array_equal(first.affine, other.affine)


def test_types_sizes_and_values(heads: list[Phantom]) -> None:
    for phantom in heads:
        types = [part.dtype.name for part in (phantom.image, phantom.mask, phantom.affine)]
        assert types == ["int16", "uint8", "float64"]
        assert phantom.image.shape == phantom.mask.shape
        width, length, slices = upright(phantom)[0].shape
        assert 100 <= width <= 112 <= length <= 124
        assert 8 <= slices <= 12
        assert phantom.image.min() >= 0
        assert set(np.unique(phantom.mask)) == {0, 1}
    peaks = [np.percentile(phantom.image, 99.5) for phantom in heads]
    assert max(peaks) > 1.5 * min(peaks)


def test_slices_are_axial_and_oblique_in_any_storage_order(heads: list[Phantom]) -> None:
    for phantom in heads:
        matrix = phantom.affine[:3, :3] / SPACING
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-9)
        assert 0.9 < abs(matrix[2, 2]) < 0.9999
        middle = phantom.affine @ [*((np.array(phantom.image.shape) - 1) / 2), 1]
        assert np.abs(middle[:3]).max() <= 20.0001
    codes = {nib.aff2axcodes(phantom.affine) for phantom in heads}
    assert {code[2] for code in codes} == {"S", "I"}
    assert {code[0] for code in codes} == {"R", "L", "A", "P"}


def test_the_head_is_upright_for_the_affine(heads: list[Phantom]) -> None:
    for phantom in heads:
        image, _ = upright(phantom)
        bright = image > 0.15 * np.percentile(image, 99.5)
        sections = bright.sum(axis=(0, 1))
        # It narrows towards the top of the head, and is longer than wide.
        assert sections[-1] < 0.8 * sections[1]
        x, y = np.nonzero(bright[:, :, 1])
        assert y.std() > 1.08 * x.std()
        # The whole head is in the picture.
        border = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].ravel()])
        assert np.median(border) < 0.12 * np.percentile(image, 99.5)


def test_the_affine_undoes_the_storage_order() -> None:
    painted = np.arange(4 * 6 * 3, dtype=np.int16).reshape(4, 6, 3)
    orders = set()
    for seed in range(150):
        stored = tumour._stored(painted, (painted % 2).astype(np.uint8), np.random.default_rng(seed))
        image, mask = upright(stored)
        np.testing.assert_array_equal(image, painted)
        np.testing.assert_array_equal(mask, painted % 2)
        orders.add(nib.aff2axcodes(stored.affine))
    assert len(orders) == 16


def test_tags_are_worth_learning(heads: list[Phantom]) -> None:
    for phantom in heads:
        assert phantom.slice_labels == [int(phantom.mask[..., z].max()) for z in range(phantom.mask.shape[2])]
        assert 0.2 <= np.mean(phantom.slice_labels) <= 0.5
        areas = phantom.mask.mean(axis=(0, 1))
        assert areas[areas > 0].min() > 0.009
        assert areas.max() < 0.09
    assert 0.25 < np.mean([tag for phantom in heads for tag in phantom.slice_labels]) < 0.5
    # Neither place nor height gives the tumour away.
    centres = np.array([np.argwhere(upright(p)[1]).mean(axis=0) / upright(p)[1].shape for p in heads])
    assert centres.std(axis=0).min() > 0.06


def test_the_outline_is_ragged(heads: list[Phantom]) -> None:
    """Moments of an ellipse give its area: 4 pi sqrt(det(covariance)); a ragged outline has less than that."""
    ratios = []
    for phantom in heads:
        section = phantom.mask[..., phantom.mask.sum((0, 1)).argmax()]
        covariance = np.cov(np.argwhere(section).T)
        ratios.append(section.sum() / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
    assert np.median(ratios) < 0.97
    assert min(ratios) < 0.85


def test_brighter_than_its_surroundings_by_varying_degrees(heads: list[Phantom]) -> None:
    contrast = []
    in_plane = np.ones((3, 3, 1), bool)
    for phantom in heads:
        inner = phantom.mask > 0
        shell = binary_dilation(inner, in_plane, iterations=4) & ~binary_dilation(inner, in_plane, iterations=1)
        contrast.append(np.median(phantom.image[inner]) / np.median(phantom.image[shell]))
    assert min(contrast) > 1.15
    assert max(contrast) > 1.3 * min(contrast)


def test_intensity_alone_does_not_solve_it(heads: list[Phantom]) -> None:
    values = [scaled(phantom.image).ravel() for phantom in heads]
    masks = [phantom.mask.ravel() > 0 for phantom in heads]
    assert best_interval_dice(np.concatenate(values), np.concatenate(masks)) < 0.5


def test_bright_pixels_do_not_tell_the_tags(heads: list[Phantom]) -> None:
    """Slices without tumour hold as bright a pixel as those with one (scalp fat, caps, spots, a vessel)."""
    right = total = 0
    for phantom in heads:
        peak = np.percentile(phantom.image, 99.9, axis=(0, 1))
        tags = np.array(phantom.slice_labels) > 0
        pairs = peak[tags][:, None] - peak[~tags]
        right, total = right + int((pairs > 0).sum()), total + pairs.size
    assert right / total < 0.8


def test_dataset_folder(tmp_path: Path) -> None:
    path = write_phantoms("tumour", tmp_path / "heads", n=3, seed=1)
    for split in ("training", "validation", "test"):
        (item,) = load_datalist(path.parent, split)
        image, mask = read_volume(item["image"]), read_volume(item["label"])
        assert image.shape == mask.shape
        assert slice_axis_of(image) == 2
        assert item["slice_labels"] == (mask[0] > 0).any(0).any(0).int().tolist()
        np.testing.assert_allclose(nib.load(item["image"]).header.get_zooms(), SPACING, atol=1e-5)
    assert '"1": "tumour"' in path.read_text()
