"""Pooled pixel counts: hand-computed answers, the slow reference, the papers' tables, empty masks, errors."""

from __future__ import annotations

import pytest
import torch

from camtools.metrics import PixelCounts, TwoClassCounts, dice, iou, pixel_counts, two_class_counts
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

# OEEM, table 1: mIoU, Dice in %
OEEM_TABLE_1 = [
    (65.34, 79.04),
    (65.95, 79.48),
    (69.61, 82.08),
    (71.31, 83.25),
    (82.24, 90.25),
    (86.84, 92.96),
    (66.11, 79.59),
    (68.54, 81.33),
    (71.52, 83.40),
    (75.64, 86.13),
    (77.56, 87.36),
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


def test_two_classes_hand_computed() -> None:
    counts = TwoClassCounts(true_positive=6, false_positive=2, false_negative=4, true_negative=12)
    assert counts.background == PixelCounts(12, 4, 2)
    assert values(counts) == values(PixelCounts(6, 2, 4))
    assert counts.miou == pytest.approx((6 / 12 + 12 / 18) / 2)
    assert counts.dice == pytest.approx((12 / 18 + 24 / 30) / 2)
    assert counts.dice_of_miou == pytest.approx(2 * (7 / 12) / (19 / 12))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_two_classes_match_the_reference(share: float) -> None:
    prediction, truth = random_masks((3, 1, 9, 7), share, 8), random_masks((3, 1, 9, 7), 0.3, 9)
    both = list(zip(prediction[:, 0].numpy(), truth[:, 0].numpy(), strict=True))
    scores = [reference.pooled(both), reference.pooled([(~p, ~t) for p, t in both])]
    counts = two_class_counts(prediction, truth)
    assert counts.miou == pytest.approx(sum(score["iou"] for score in scores) / 2)
    assert counts.dice == pytest.approx(sum(score["f1"] for score in scores) / 2)
    single = [two_class_counts(p[None], t[None]) for p, t in zip(prediction, truth, strict=True)]
    assert sum(single, TwoClassCounts()) == counts
    assert PixelCounts(counts.true_positive, counts.false_positive, counts.false_negative) == pixel_counts(
        prediction, truth
    )


@pytest.mark.parametrize(("miou", "dice_percent"), OEEM_TABLE_1)
def test_dice_of_miou_is_the_dice_of_the_oeem_paper(miou: float, dice_percent: float) -> None:
    # Both classes at IoU = mIoU: the hits of each are as many, and so are the two kinds of error.
    wrong = round(10**7 * (1 - miou / 100) / (miou / 100))
    counts = TwoClassCounts(10**7, wrong, 0, 10**7)
    assert 100 * counts.miou == pytest.approx(miou, abs=1e-4)
    # Both figures are rounded to 0.01%.
    assert 100 * counts.dice_of_miou == pytest.approx(dice_percent, abs=0.009)
    assert counts.dice == pytest.approx(counts.dice_of_miou)


def test_dice_of_miou_is_above_the_mean_dice_where_the_classes_differ() -> None:
    counts = TwoClassCounts(true_positive=1, false_positive=9, false_negative=0, true_negative=90)
    assert counts.dice_of_miou > counts.dice + 0.05


def test_two_classes_with_one_absent() -> None:
    assert (TwoClassCounts().miou, TwoClassCounts().dice, TwoClassCounts().dice_of_miou) == (1, 1, 1)
    assert TwoClassCounts(true_negative=5).miou == 1
    # All background, half of it taken for the object.
    half = TwoClassCounts(false_positive=5, true_negative=5)
    assert (half.miou, half.dice) == pytest.approx((0.25, 1 / 3))


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
    with pytest.raises(ValueError, match=r"0 or more, found .*true_negative=-1\); count with two_class_counts"):
        TwoClassCounts(2, 1, 0, -1)
