"""Dice, IoU and HD95: hand-computed answers, the slow reference, empty masks, errors, speed."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from camtools.metrics import SegmentationScores, dice, hd95, iou, slice_scores, volume_scores
from tests.reference import metrics as reference


def square(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Mask (1, 1, *shape) that is on in one box."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + n) for first, n in zip(start, size, strict=True))] = True
    return torch.from_numpy(mask)[None, None]


def random_blobs(shape: tuple[int, ...], count: int, seed: int) -> torch.Tensor:
    """Masks (count, 1, *shape): rough blobs, some of which touch the border of the image."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 1, *shape, generator=generator)
    pool = torch.nn.functional.avg_pool2d if len(shape) == 2 else torch.nn.functional.avg_pool3d
    smooth = pool(noise, 3, stride=1, padding=1, count_include_pad=False)
    return smooth > smooth.flatten(1).quantile(0.7, dim=1).view(-1, *[1] * (smooth.ndim - 1))


def test_hand_computed_overlap() -> None:
    truth, prediction = square((6, 6), (0, 0), (2, 2)), square((6, 6), (1, 0), (2, 3))
    # 4 and 6 pixels, 2 in common.
    assert dice(prediction, truth).item() == pytest.approx(2 * 2 / 10)
    assert iou(prediction, truth).item() == pytest.approx(2 / 8)


def test_hand_computed_distance_in_pixels_and_mm() -> None:
    # Single pixels 3 rows and 4 columns apart.
    truth, prediction = square((9, 9), (1, 1), (1, 1)), square((9, 9), (4, 5), (1, 1))
    assert hd95(prediction, truth).tolist() == [5.0]
    assert hd95(prediction, truth, spacing=(2.0, 0.5)).item() == pytest.approx(math.hypot(6, 2))


def test_95th_percentile_is_interpolated_and_the_larger_direction_counts() -> None:
    # A line of 21 pixels against its first pixel: distances 0..20 one way (percentile 19), 0 the other way.
    truth, prediction = square((1, 21), (0, 0), (1, 1)), square((1, 21), (0, 0), (1, 21))
    assert hd95(prediction, truth).item() == pytest.approx(19.0)
    assert hd95(truth, prediction).item() == pytest.approx(19.0)
    shorter = square((1, 21), (0, 0), (1, 11))
    # Distances 0..10: position 0.95 * 10 = 9.5.
    assert hd95(shorter, truth).item() == pytest.approx(9.5)


def test_only_outlines_count_not_the_inside() -> None:
    full = square((12, 12), (1, 1), (10, 10))
    hollow = full & ~square((12, 12), (2, 2), (8, 8))
    assert dice(hollow, full).item() < 1
    # The ring is one pixel thick, so both outlines are the same 36 pixels.
    assert hd95(hollow, full).tolist() == [0.0]


@pytest.mark.parametrize("spacing", [None, (0.7, 2.3)])
def test_matches_the_reference_in_2d(spacing: tuple[float, float] | None) -> None:
    truth, prediction = random_blobs((14, 17), 4, seed=0), random_blobs((14, 17), 4, seed=1)
    pairs = [(p.numpy(), t.numpy()) for p, t in zip(prediction[:, 0], truth[:, 0], strict=True)]
    expected = [reference.hd95(p, t, spacing or (1, 1)) for p, t in pairs]
    np.testing.assert_allclose(hd95(prediction, truth, spacing), expected, rtol=1e-5)
    np.testing.assert_allclose(dice(prediction, truth), [reference.dice(p, t) for p, t in pairs], rtol=1e-6)
    np.testing.assert_allclose(iou(prediction, truth), [reference.iou(p, t) for p, t in pairs], rtol=1e-6)


@pytest.mark.parametrize("spacing", [None, (0.7, 1.0, 5.5)])
def test_matches_the_reference_in_3d(spacing: tuple[float, float, float] | None) -> None:
    truth, prediction = random_blobs((8, 9, 4), 3, seed=2), random_blobs((8, 9, 4), 3, seed=3)
    pairs = [(p.numpy(), t.numpy()) for p, t in zip(prediction[:, 0], truth[:, 0], strict=True)]
    expected = [reference.hd95(p, t, spacing or (1, 1, 1)) for p, t in pairs]
    np.testing.assert_allclose(hd95(prediction, truth, spacing), expected, rtol=1e-5)
    np.testing.assert_allclose(dice(prediction, truth), [reference.dice(p, t) for p, t in pairs], rtol=1e-6)
    np.testing.assert_allclose(iou(prediction, truth), [reference.iou(p, t) for p, t in pairs], rtol=1e-6)


def test_empty_masks_follow_the_rules_sample_by_sample() -> None:
    on, off = square((3, 4), (0, 0), (2, 2)), torch.zeros(1, 1, 3, 4, dtype=torch.bool)
    prediction, truth = torch.cat([off, on, off, on]), torch.cat([off, off, on, on])
    assert dice(prediction, truth).tolist() == [1, 0, 0, 1]
    assert iou(prediction, truth).tolist() == [1, 0, 0, 1]
    assert hd95(prediction, truth).tolist() == [0, 5, 5, 0]
    np.testing.assert_allclose(hd95(prediction, truth, (2, 2)), [0, 10, 10, 0])


def test_empty_masks_in_3d_cost_the_diagonal() -> None:
    on, off = square((2, 3, 6), (0, 0, 0), (1, 1, 1)), torch.zeros(1, 1, 2, 3, 6, dtype=torch.bool)
    assert hd95(on, off).tolist() == [7]
    assert hd95(off, off).tolist() == [0]
    assert hd95(off, on, (1.0, 1.0, 0.5)).item() == pytest.approx(math.sqrt(4 + 9 + 9))


def test_a_miss_is_never_better_than_the_worst_hit() -> None:
    shape = (5, 7)
    opposite = hd95(square(shape, (0, 0), (1, 1)), square(shape, (4, 6), (1, 1)))
    missed = hd95(torch.zeros(1, 1, *shape), square(shape, (4, 6), (1, 1)))
    assert missed.item() > opposite.item()


def test_one_slice_is_measured_as_a_2d_image() -> None:
    truth, prediction = random_blobs((14, 17), 2, seed=4), random_blobs((14, 17), 2, seed=5)
    flat = hd95(prediction, truth, (0.5, 0.8))
    assert torch.equal(hd95(prediction[..., None], truth[..., None], (0.5, 0.8, 5.0)), flat)
    missed = hd95(torch.zeros_like(truth)[..., None], truth[..., None], (0.5, 0.8, 5.0))
    assert missed.tolist() == pytest.approx([math.hypot(14 * 0.5, 17 * 0.8)] * 2)


@pytest.mark.parametrize("metric", [dice, iou, hd95])
def test_batched_equals_single_and_symmetric(metric) -> None:  # type: ignore[no-untyped-def]
    truth, prediction = random_blobs((20, 16), 5, seed=6), random_blobs((20, 16), 5, seed=7)
    batched = metric(prediction, truth)
    assert batched.shape == (5,)
    assert batched.dtype == torch.float32
    single = torch.cat([metric(prediction[i : i + 1], truth[i : i + 1]) for i in range(5)])
    assert torch.equal(batched, single)
    assert torch.equal(batched, metric(truth, prediction))


@pytest.mark.parametrize("metric", [dice, iou, hd95])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_type_of_the_mask_does_not_matter(metric, dtype) -> None:  # type: ignore[no-untyped-def]
    truth, prediction = random_blobs((20, 16), 2, seed=8), random_blobs((20, 16), 2, seed=9)
    result = metric(MetaTensor(prediction.to(dtype)), truth.to(dtype))
    assert torch.equal(result, metric(prediction, truth))
    assert type(result) is torch.Tensor


def test_inputs_are_left_as_they_were() -> None:
    truth, prediction = random_blobs((10, 10), 2, seed=10), random_blobs((10, 10), 2, seed=11)
    copies = truth.clone(), prediction.clone()
    hd95(prediction, truth)
    assert torch.equal(truth, copies[0])
    assert torch.equal(prediction, copies[1])


def test_no_warning_is_printed() -> None:
    on, off = square((8, 8, 3), (2, 2, 1), (3, 3, 1)), torch.zeros(1, 1, 8, 8, 3, dtype=torch.bool)
    prediction, truth = torch.cat([off, on, off, on]), torch.cat([off, off, on, on])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = [metric(prediction, truth) for metric in (dice, iou, hd95)]
    assert [str(warning.message) for warning in caught] == []
    assert torch.isfinite(torch.stack(values)).all()


def test_volume_scores() -> None:
    truth, prediction = square((9, 9, 3), (1, 1, 1), (1, 1, 1)), square((9, 9, 3), (4, 5, 1), (1, 1, 1))
    assert volume_scores(prediction[0, 0], truth[0, 0]) == SegmentationScores(0.0, 0.0, 5.0, None)
    assert volume_scores(prediction[0, 0], truth[0, 0], (2.0, 2.0, 5.0)) == SegmentationScores(0.0, 0.0, 5.0, 10.0)


def test_slice_scores_judge_each_positive_slice_in_2d() -> None:
    truth = torch.zeros(9, 9, 4, dtype=torch.uint8)
    truth[1, 1, 1:3] = 1
    prediction = torch.zeros(9, 9, 4, dtype=torch.uint8)
    prediction[4, 5, 1] = 1
    prediction[0, 0, 3] = 1
    diagonal = math.hypot(9, 9)
    scores = dict(slice_scores(prediction, truth, spacing=(0.5, 0.5, 7.0)))
    assert list(scores) == [1, 2]
    assert scores[1] == SegmentationScores(0.0, 0.0, 5.0, 2.5)
    assert scores[2].hd95_px == pytest.approx(diagonal)
    assert scores[2].hd95_mm == pytest.approx(diagonal / 2)
    every = dict(slice_scores(prediction, truth, positive_only=False))
    assert list(every) == [0, 1, 2, 3]
    assert every[0] == SegmentationScores(1.0, 1.0, 0.0, None)
    assert every[1] == SegmentationScores(0.0, 0.0, 5.0, None)
    assert every[3].hd95_px == pytest.approx(diagonal)


def test_slice_scores_equal_the_2d_metrics() -> None:
    truth, prediction = random_blobs((12, 13, 4), 1, seed=12)[0, 0], random_blobs((12, 13, 4), 1, seed=13)[0, 0]
    for index, scores in slice_scores(prediction, truth, (0.5, 2.0, 6.0)):
        pair = prediction[None, None, ..., index], truth[None, None, ..., index]
        assert scores == SegmentationScores(
            dice(*pair).item(), iou(*pair).item(), hd95(*pair).item(), hd95(*pair, (0.5, 2.0)).item()
        )


def test_slice_scores_of_a_volume_without_object_are_none() -> None:
    prediction = square((6, 6, 2), (0, 0, 0), (2, 2, 2))[0, 0]
    assert slice_scores(prediction, torch.zeros_like(prediction)) == []


@pytest.mark.parametrize("metric", [dice, iou, hd95])
def test_errors_say_what_was_found(metric) -> None:  # type: ignore[no-untyped-def]
    mask = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"same shape, found \(1, 1, 4, 4\) and \(1, 1, 4, 5\); resample"):
        metric(mask, torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match=r"prediction: expected masks of shape .* found \(4, 4\); add missing axes"):
        metric(mask[0, 0], mask[0, 0])
    with pytest.raises(ValueError, match=r"found \(1, 2, 4, 4\).* one class at a time"):
        metric(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"prediction: expected masks of shape .* found \(0, 1, 4, 4\)"):
        metric(torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match=r"prediction: expected a mask of 0 and 1, found the value 0.3; threshold"):
        metric(mask + 0.3, mask)
    with pytest.raises(ValueError, match="truth: expected a mask of 0 and 1, found the value nan"):
        metric(mask, mask * math.nan)
    with pytest.raises(ValueError, match="truth: expected a mask of 0 and 1, found the value 255"):
        metric(mask, (mask + 255).to(torch.uint8))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -2.0), (1.0, math.nan), ()])
def test_bad_spacing(spacing: tuple[float, ...]) -> None:
    mask = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="spacing: expected 2 positive numbers of mm, one per spatial axis, found"):
        hd95(mask, mask, spacing)


def test_volumes_need_three_axes() -> None:
    volume = torch.zeros(1, 4, 4, 2)
    for scores in (volume_scores, slice_scores):
        with pytest.raises(ValueError, match=r"prediction: expected one volume of shape \(X, Y, Z\), found \(1, 4, 4"):
            scores(volume, volume)
        with pytest.raises(ValueError, match=r"truth: expected one volume"):
            scores(volume[0], volume)
        with pytest.raises(ValueError, match="same shape"):
            scores(volume[0], volume[0, :, :, :1])
        with pytest.raises(ValueError, match="expected 3 positive numbers"):
            scores(volume[0], volume[0], (1.0, 1.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_stay_on_the_device_and_agree() -> None:
    truth, prediction = random_blobs((14, 17), 4, seed=14), random_blobs((14, 17), 4, seed=15)
    for metric in (dice, iou, hd95):
        result = metric(prediction.cuda(), truth.cuda())
        assert result.is_cuda
        assert torch.equal(result.cpu(), metric(prediction, truth))
