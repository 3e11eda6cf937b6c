"""Scores of single objects: hand-computed answers, the slow reference, empty images, ties, components, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from camtools.metrics import ObjectCounts, connected_objects, object_counts
from tests.reference import objects as reference


def numbered(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    """One image ``(1, H, W)`` with boxes (top, bottom, left, right) numbered from 1."""
    image = torch.zeros(1, *size, dtype=torch.int64)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        image[0, top:bottom, left:right] = number
    return image


def random_objects(shape: tuple[int, ...], most: int, seed: int) -> torch.Tensor:
    """Scattered numbers with gaps: objects of several parts, some images without any."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, most, shape, generator=generator) * 7
    numbers[torch.rand(shape[0], generator=generator) < 0.2] = 0
    return numbers


def pairs(prediction: torch.Tensor, truth: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(p.numpy(), t.numpy()) for p, t in zip(prediction, truth, strict=True)]


def detected(counts: ObjectCounts) -> tuple[int, int, int]:
    return counts.true_positive, counts.false_positive, counts.false_negative


def test_hand_computed() -> None:
    truth = numbered((0, 2, 0, 4), (4, 8, 0, 2), (0, 2, 8, 10))  # areas 8, 8, 4
    prediction = numbered((0, 2, 0, 3), (4, 7, 0, 1), (6, 8, 10, 12))  # areas 6, 3, 4; overlaps 6, 3, 0
    counts = object_counts(prediction, truth)
    assert detected(counts) == (1, 2, 2)
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    first, second = 12 / 14, 6 / 11
    assert counts.dice == pytest.approx(((6 * first + 3 * second) / 13 + (8 * first + 8 * second) / 20) / 2)


def test_half_of_the_true_object_is_enough() -> None:
    truth = numbered((0, 2, 0, 4))
    assert detected(object_counts(numbered((0, 2, 0, 2)), truth)) == (1, 0, 0)
    assert detected(object_counts(numbered((0, 1, 0, 3)), truth)) == (0, 1, 1)
    # Of the true object, not of the predicted one: a far too large object is a hit.
    assert detected(object_counts(numbered((0, 8, 0, 12)), truth)) == (1, 0, 0)


def test_merged_and_split_objects() -> None:
    two, one = numbered((0, 4, 0, 4), (0, 4, 4, 7)), numbered((0, 4, 0, 7))
    # Merged: the one predicted object counts for the larger true one alone.
    merged = object_counts(one, two)
    assert detected(merged) == (1, 0, 1)
    assert merged.dice == pytest.approx((32 / 44 + (16 * 32 / 44 + 12 * 24 / 40) / 28) / 2)
    # Split: the smaller part covers less than half.
    assert detected(object_counts(two, one)) == (1, 1, 0)
    # Two halves of one object are both hits, and nothing is missed.
    assert detected(object_counts(numbered((0, 4, 0, 3), (0, 4, 3, 6)), numbered((0, 4, 0, 6)))) == (2, 0, 0)


def test_among_equal_overlaps_the_smallest_number_counts() -> None:
    prediction = numbered((0, 2, 0, 4))
    # Both true objects share 4 pixels with it; the first has 4, the second 12.
    truth = numbered((0, 2, 0, 2), (0, 6, 2, 4))
    assert object_counts(prediction, truth).predicted_match == pytest.approx(8 * 2 * 4 / (8 + 4))
    swapped = torch.tensor([0, 2, 1])[truth]
    assert detected(object_counts(prediction, swapped)) == (0, 1, 2)
    assert object_counts(prediction, swapped).predicted_match == pytest.approx(8 * 2 * 4 / (8 + 12))


@pytest.mark.parametrize(("most", "seed"), [(2, 0), (3, 1), (4, 2), (6, 3), (9, 4)])
def test_matches_the_reference(most: int, seed: int) -> None:
    prediction, truth = random_objects((6, 7, 5), most, seed), random_objects((6, 7, 5), most + 1, seed + 100)
    truth[2:] = torch.where(prediction[2:] > 0, prediction[2:], truth[2:])  # larger overlaps
    counts = object_counts(prediction, truth)
    assert detected(counts) == reference.detection(pairs(prediction, truth))
    assert counts.dice == pytest.approx(reference.object_dice(pairs(prediction, truth)))


def test_batch_equals_the_sum_of_its_images() -> None:
    prediction, truth = random_objects((5, 9, 7), 4, 5), random_objects((5, 9, 7), 3, 6)
    single = [object_counts(p[None], t[None]) for p, t in zip(prediction, truth, strict=True)]
    batched, added = object_counts(prediction, truth), sum(single, ObjectCounts())
    assert detected(batched) == detected(added)
    assert batched.dice == pytest.approx(added.dice)


def test_weights_are_areas_over_all_images() -> None:
    found = object_counts(numbered((0, 8, 0, 12)), numbered((0, 8, 0, 12)))
    missed = object_counts(numbered((0, 1, 0, 2)), numbered((4, 5, 0, 2)))
    assert (found.dice, missed.dice) == (1.0, 0.0)
    assert (found + missed).dice == pytest.approx(96 / 98)
    assert (found + missed).f1 == 0.5


def test_objects_of_different_images_never_meet() -> None:
    prediction = torch.cat([numbered((0, 4, 0, 4)), numbered()])
    counts = object_counts(prediction, prediction.flip(0))
    assert (detected(counts), counts.dice) == ((0, 1, 1), 0.0)


def test_empty_images() -> None:
    empty, one = numbered(), numbered((0, 2, 0, 2))
    for prediction, truth, expected in ((empty, empty, 1.0), (one, empty, 0.0), (empty, one, 0.0)):
        counts = object_counts(prediction, truth)
        assert (counts.precision, counts.recall, counts.f1, counts.dice) == (expected,) * 4
        assert counts.dice == reference.object_dice(pairs(prediction, truth))
    assert detected(object_counts(one, empty)) == (0, 1, 0)
    assert detected(object_counts(empty, one)) == (0, 0, 1)
    # An empty image adds nothing to others.
    assert object_counts(one, one) + object_counts(empty, empty) == object_counts(one, one)
    full = torch.ones(1, 3, 3, dtype=torch.int64)  # no background at all
    assert object_counts(full, full).dice == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_type_and_numbers_do_not_matter(dtype: torch.dtype) -> None:
    prediction, truth = random_objects((3, 40, 40), 9, 7), random_objects((3, 40, 40), 9, 8)
    counts = object_counts(prediction, truth)
    assert object_counts(prediction.to(dtype), (truth * 2).to(dtype)) == counts


@pytest.mark.parametrize("connectivity", [4, 8])
def test_components_match_the_reference(connectivity: int) -> None:
    mask = torch.rand((4, 9, 11), generator=torch.Generator().manual_seed(9)) < 0.45
    numbers = connected_objects(mask, connectivity)
    assert numbers.dtype == torch.int64
    torch.testing.assert_close(numbers > 0, mask)
    own = [{frozenset(one) for one in reference.objects(image.numpy())} for image in numbers]
    assert own == [reference.components(image.numpy(), connectivity == 8) for image in mask]
    # Numbers are unique over the batch, without a gap.
    assert numbers.unique().tolist() == list(range(1 + sum(map(len, own))))


def test_errors_say_what_was_found() -> None:
    image = numbered((0, 2, 0, 2))
    with pytest.raises(ValueError, match=r"same shape, found \(1, 8, 12\) and \(8, 12\); resample"):
        object_counts(image, image[0])
    with pytest.raises(ValueError, match=r"prediction: expected images of shape \(B, H, W\), found \(1, 1, 8, 12\)"):
        object_counts(image[None], image[None])
    with pytest.raises(
        ValueError, match=r"prediction: expected integers .* found torch.bool; number .* with connected_"
    ):
        object_counts(image > 0, image)
    with pytest.raises(ValueError, match=r"truth: expected integers that number the objects, found torch.float32"):
        object_counts(image, image.float())
    with pytest.raises(ValueError, match=r"truth: expected numbers of objects >= 0, found -1; 0 is the background"):
        object_counts(image, -image)
    with pytest.raises(ValueError, match=r"0 or more, found ObjectCounts\(.*predicted_area=-4.*; count with object_"):
        ObjectCounts(predicted_area=-4)
    with pytest.raises(ValueError, match=r"connectivity: expected 4 or 8, found 6; 8 lets pixels touch at corners"):
        connected_objects(image, 6)
    with pytest.raises(ValueError, match=r"mask: expected images of shape \(B, H, W\), found \(8, 12\); drop"):
        connected_objects(image[0])
    with pytest.raises(ValueError, match=r"mask: expected 0 and 1, found the value 2; threshold it first"):
        connected_objects(2 * image)
