"""Pooled pixel counts: hand-computed answers, the slow reference, the paper's table, empty masks, errors."""

from __future__ import annotations

import pytest
import torch

from camtools.metrics import PixelCounts, dice, iou, pixel_counts
from tests.reference import metrics as reference

NAMES = ("precision", "recall", "f1", "iou")
# LTGrad-CAM, table 4: mIoU, precision, recall, micro-F1 in %
TABLE_4 = [
    (25.87, 34.75, 50.31, 41.11),
    (25.73, 27.79, 77.63, 40.93),
    (22.14, 23.41, 80.25, 36.25),
    (20.50, 21.67, 79.14, 34.03),
    (28.92, 31.8, 76.12, 44.86),
    (33.01, 37.07, 75.06, 49.63),
    (35.37, 40.88, 72.42, 52.26),
]


def random_masks(shape: tuple[int, ...], share: float, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def values(counts: PixelCounts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in NAMES}


def test_hand_computed() -> None:
    counts = PixelCounts(true_positive=6, false_positive=2, false_negative=4)
    assert values(counts) == pytest.approx({"precision": 0.75, "recall": 0.6, "f1": 12 / 18, "iou": 0.5})


def test_counts_of_a_small_mask() -> None:
    truth, prediction = torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    truth[..., :2, :2] = 1
    prediction[..., 1:3, :3] = 1
    assert pixel_counts(prediction, truth) == PixelCounts(2, 4, 2)


@pytest.mark.parametrize("shape", [(4, 1, 9, 7), (2, 1, 5, 6, 3)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_matches_the_reference(shape: tuple[int, ...], share: float) -> None:
    prediction, truth = random_masks(shape, share, 0), random_masks(shape, 0.3, 1)
    pairs = [(p.numpy(), t.numpy()) for p, t in zip(prediction[:, 0], truth[:, 0], strict=True)]
    assert values(pixel_counts(prediction, truth)) == pytest.approx(reference.pooled(pairs))


def test_batch_equals_the_sum_of_its_slices() -> None:
    prediction, truth = random_masks((5, 1, 9, 7), 0.4, 2), random_masks((5, 1, 9, 7), 0.3, 3)
    single = [pixel_counts(p[None], t[None]) for p, t in zip(prediction, truth, strict=True)]
    assert sum(single, PixelCounts()) == pixel_counts(prediction, truth)


def test_one_slice_agrees_with_dice_and_iou() -> None:
    prediction, truth = random_masks((1, 1, 20, 20), 0.4, 4), random_masks((1, 1, 20, 20), 0.3, 5)
    counts = pixel_counts(prediction, truth)
    assert counts.f1 == pytest.approx(dice(prediction, truth).item())
    assert counts.iou == pytest.approx(iou(prediction, truth).item())


def test_pooling_is_not_the_mean_over_slices() -> None:
    large, small = PixelCounts(90, 10, 0), PixelCounts(0, 0, 10)
    assert (large + small).iou == pytest.approx(90 / 110)
    assert (large.iou + small.iou) / 2 == pytest.approx(0.45)


@pytest.mark.parametrize("row", TABLE_4)
def test_definition_is_that_of_the_papers_table(row: tuple[float, ...]) -> None:
    miou, precision, recall, f1 = (value / 100 for value in row)
    found = round(recall * 10**7)
    counts = PixelCounts(found, round(found * (1 - precision) / precision), 10**7 - found)
    # Precision and recall are rounded to 0.01% in the table, which moves the other two by up to 0.01%.
    assert (counts.f1, counts.iou) == pytest.approx((f1, miou), abs=1.1e-4)


def test_empty_masks() -> None:
    assert values(PixelCounts()) == dict.fromkeys(NAMES, 1.0)
    assert values(PixelCounts(false_positive=3)) == dict.fromkeys(NAMES, 0.0)
    assert values(PixelCounts(false_negative=3)) == dict.fromkeys(NAMES, 0.0)
    empty = torch.zeros(2, 1, 4, 4)
    assert pixel_counts(empty, empty) == PixelCounts()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_type_of_the_mask_does_not_matter(dtype: torch.dtype) -> None:
    prediction, truth = random_masks((2, 1, 300, 300), 0.4, 6), random_masks((2, 1, 300, 300), 0.3, 7)
    assert pixel_counts(prediction.to(dtype), truth.to(dtype)) == pixel_counts(prediction, truth)


def test_errors_say_what_was_found() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"same shape, found \(1, 1, 4, 4\) and \(1, 1, 4, 5\); resample"):
        pixel_counts(mask, torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match=r"prediction: expected masks of shape .* found \(4, 4\); add missing axes"):
        pixel_counts(mask[0, 0], mask[0, 0])
    with pytest.raises(ValueError, match="truth: expected a mask of 0 and 1, found the value 0.5; threshold"):
        pixel_counts(mask, mask + 0.5)
    with pytest.raises(ValueError, match=r"0 or more, found .*false_positive=-1.*; count with pixel_counts"):
        PixelCounts(2, -1, 0)
