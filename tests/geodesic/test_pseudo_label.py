from __future__ import annotations

import importlib.util

import pytest
import torch

from camtools.geodesic import seed_pseudo_label, spl_from_seeds
from camtools.seeds import Seeds, seeds_from_cam
from camtools.thresholds import intra_class_variance
from tests.reference.geodesic import reference_spl

HAS_FASTGEODIS = importlib.util.find_spec("FastGeodis") is not None
needs_fastgeodis = pytest.mark.skipif(not HAS_FASTGEODIS, reason="FastGeodis is not installed")
BACKENDS = ["numba", "torch", pytest.param("fastgeodis", marks=needs_fastgeodis)]


def object_slices(count: int = 3, size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright discs in noise, and blurred maps of them in [0, 1]."""
    noise = torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(7))
    axis = torch.arange(size)
    centre = torch.arange(count).reshape(-1, 1, 1, 1) * 3 + 15
    offset = (axis[:, None] - centre) ** 2 + (axis[None, :] - 20) ** 2
    return 100 + 60 * (offset < 64) + 4 * noise, torch.exp(-offset / 80)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spl_matches_reference(backend):
    images, maps = object_slices()
    images = torch.cat([images, images.flip(3) * 7 - 3], dim=1)
    seeds = seeds_from_cam(maps, 0.5)
    label = spl_from_seeds(images, seeds, alpha=0.7, backend=backend)
    for i in range(len(images)):
        expected = reference_spl(images[i], seeds.background[i, 0], seeds.foreground[i, 0], alpha=0.7)
        torch.testing.assert_close(label[i].double(), expected, rtol=1e-4, atol=1e-5)


def test_spl_recovers_the_object():
    images, maps = object_slices()
    label = seed_pseudo_label(images, maps)
    assert label.shape == (3, 2, 40, 40)
    assert label.dtype == torch.float32
    torch.testing.assert_close(label.sum(1), torch.ones(3, 40, 40))
    predicted, truth = label[:, 1:] > 0.5, images > 130
    dice = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    assert dice > 0.98


def test_automatic_threshold_is_intra_class_variance():
    images, maps = object_slices()
    thresholds = intra_class_variance(images, maps)
    assert torch.equal(seed_pseudo_label(images, maps), seed_pseudo_label(images, maps, thresholds))
    expected = spl_from_seeds(images, seeds_from_cam(maps, 0.3, margin=2), alpha=2.0, passes=1)
    assert torch.equal(seed_pseudo_label(images, maps, 0.3, alpha=2.0, margin=2, passes=1), expected)


def test_spl_ignores_scale_and_offset_of_intensities():
    images, maps = object_slices()
    images = images.double()
    torch.testing.assert_close(
        seed_pseudo_label(images * 1e-6 + 4, maps), seed_pseudo_label(images, maps), rtol=2e-2, atol=2e-2
    )
    torch.testing.assert_close(seed_pseudo_label(images * 8 - 400, maps), seed_pseudo_label(images, maps))


def test_spl_does_not_underflow():
    images, maps = object_slices()
    label = seed_pseudo_label(images, maps, alpha=1e4)
    assert label.isfinite().all()
    torch.testing.assert_close(label.sum(1), torch.ones(3, 40, 40))
    seeds = seeds_from_cam(maps, intra_class_variance(images, maps))
    hard = reference_spl(images[0], seeds.background[0, 0], seeds.foreground[0, 0], alpha=1)
    clear = (hard[0] - hard[1]).abs() > 0.1
    assert torch.equal(label[0].argmax(0)[clear], hard.argmax(0)[clear])


def test_slices_without_a_map_are_background():
    images, maps = object_slices(3)
    maps[1] = 0
    label = seed_pseudo_label(images, maps)
    assert (label[1, 0] == 1).all()
    assert (label[1, 1] == 0).all()
    kept = [0, 2]
    assert torch.equal(label[kept], seed_pseudo_label(images[kept], maps[kept]))
    assert (seed_pseudo_label(images, torch.zeros_like(maps))[:, 0] == 1).all()
    assert (seed_pseudo_label(images, maps, threshold=2.0)[:, 0] == 1).all()


def test_slices_without_background_seeds_are_foreground():
    images, _ = object_slices(1)
    label = spl_from_seeds(images, seeds_from_cam(torch.ones_like(images), 0.5))
    assert (label[:, 1] == 1).all()


def test_constant_map_shows_no_object():
    images, _ = object_slices(1)
    assert (seed_pseudo_label(images, torch.ones_like(images), threshold=0.5)[:, 0] == 1).all()


@pytest.mark.parametrize("threshold", ["auto", 0.4])
def test_scale_and_offset_of_a_map_do_not_matter(threshold):
    images, maps = object_slices()
    torch.testing.assert_close(
        seed_pseudo_label(images, 7 * maps + 3, threshold), seed_pseudo_label(images, maps, threshold)
    )


def test_constant_slice_is_undecided():
    _, maps = object_slices()
    label = seed_pseudo_label(torch.full_like(maps, 0.1), maps, threshold=0.5)
    assert (label == 0.5).all()


def test_spl_batched_equals_single():
    images, maps = object_slices()
    single = [seed_pseudo_label(images[i : i + 1], maps[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(seed_pseudo_label(images, maps), torch.cat(single), rtol=1e-6, atol=1e-6)


def test_spl_errors():
    images, maps = object_slices()
    with pytest.raises(
        ValueError, match=r"expected cam of shape \(3, 1, 40, 40\) to match images, found \(3, 40, 40\)"
    ):
        seed_pseudo_label(images, maps[:, 0])
    with pytest.raises(ValueError, match=r"expected threshold to be 'auto', a number or a \(B,\) tensor, found 'otsu'"):
        seed_pseudo_label(images, maps, "otsu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected alpha > 0, found 0"):
        seed_pseudo_label(images, maps, alpha=0)
    with pytest.raises(ValueError, match="expected passes to be an integer >= 1"):
        seed_pseudo_label(images, maps, passes=0)
    with pytest.raises(ValueError, match="expected backend to be one of"):
        seed_pseudo_label(images, maps, backend="cupy")  # type: ignore[arg-type]
    images[2, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"found NaN or infinity at batch index \[2\]"):
        seed_pseudo_label(images, maps)


def test_spl_from_seeds_of_other_slices():
    images, maps = object_slices()
    seeds = seeds_from_cam(maps[:2], 0.5)
    with pytest.raises(ValueError, match=r"seeds to match images \(3, 1, 40, 40\), found \(2, 1, 40, 40\)"):
        spl_from_seeds(images, seeds)
    assert spl_from_seeds(images[:2], Seeds(seeds.background, seeds.foreground, seeds.component)).shape[0] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pseudo_label_on_cuda_matches_the_cpu():
    images, maps = object_slices()
    label = seed_pseudo_label(images.cuda(), maps.cuda())
    assert label.is_cuda
    torch.testing.assert_close(label.cpu(), seed_pseudo_label(images, maps), rtol=1e-4, atol=1e-5)
