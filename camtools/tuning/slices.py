"""The slices that a tuning looks at, and whose patient each one shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from camtools.data.case_names import case_name
from camtools.data.geometry import volume_to_slices
from camtools.data.importers.patients import patients_by_pattern
from camtools.data.tags import slice_tags
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.validation_maps import object_slices

__all__ = ["PreparedSlices", "SliceKey", "item_patients", "prepared_slices"]

PART = 16  # slices whose maps are in memory at a time


@dataclass(frozen=True)
class SliceKey:
    """One slice of the tuning.

    Attributes:
        case: name of the volume.
        patient: whom it shows.
        index: slice of the file.
    """

    case: str
    patient: str
    index: int


@dataclass(frozen=True)
class PreparedSlices:
    """Some positive slices of one volume, as the classifier sees them.

    Attributes:
        keys: the slices.
        images: ``(B, C, H, W)``.
        masks: bool ``(B, 1, H, W)``, none empty; None without masks.
        ends_volume: whether the volume has no further slices.
    """

    keys: tuple[SliceKey, ...]
    images: Tensor
    masks: Tensor | None
    ends_volume: bool = True


def item_patients(items: Sequence[Mapping[str, Any]], pattern: str | None = None) -> list[str]:
    """The patient of every item.

    Args:
        items: volume items.
        pattern: regular expression that finds the patient in the name of the case, as for the imports. None: the
            ``patient`` of the item in ``dataset.json``; an item without one is a patient of its own.

    Raises:
        DataError: the pattern finds nothing in a name.
        ValueError: it is no regular expression.

    Example:
        >>> item_patients([{"image": "a_1.nii", "patient": "a"}, {"image": "b_1.nii"}])
        ['a', 'b_1']
        >>> item_patients([{"image": "a_1.nii"}, {"image": "a_2.nii"}], "(.*)_")
        ['a', 'a']
    """
    cases = [case_name(dict(item)) for item in items]
    if pattern is not None:
        found = patients_by_pattern({case: case for case in cases}, pattern)
        return [found[case] for case in cases]
    return [str(item.get("patient", case)) for item, case in zip(items, cases, strict=True)]


def prepared_slices(
    classifier: TrainedClassifier, items: Sequence[dict[str, Any]], patients: Sequence[str]
) -> Iterator[PreparedSlices]:
    """The positive slices of every item, at most 16 at a time.

    Of items with a mask these are the slices of :func:`camtools.scores.validation_maps.object_slices`; of items without
    a mask the slices that are tagged.

    Raises:
        DataError: a file that cannot be used, or an item with neither a mask nor tags.
    """
    for item, patient in zip(items, patients, strict=True):
        found = _with_mask(classifier, item) if item.get("label") else _with_tags(classifier, item)
        if found is None:
            continue
        indices, images, masks = found
        keys = [SliceKey(case_name(item), patient, index) for index in indices]
        for start in range(0, len(keys), PART):
            rows = slice(start, start + PART)
            own = None if masks is None else masks[rows]
            yield PreparedSlices(tuple(keys[rows]), images[rows], own, start + PART >= len(keys))


def _with_mask(classifier: TrainedClassifier, item: dict[str, Any]) -> tuple[tuple[int, ...], Tensor, Tensor] | None:
    found = object_slices(classifier, item)
    if found is None:
        return None
    slices, images = found
    return slices.indices, images, slices.masks


def _with_tags(classifier: TrainedClassifier, item: dict[str, Any]) -> tuple[list[int], Tensor, None] | None:
    tags = slice_tags(item, classifier.min_area_fraction, classifier.slice_axis)
    positive = [int(index) for index in np.flatnonzero(tags)]
    if not positive:
        return None
    images = volume_to_slices(classifier.prepare({"image": item["image"]})["image"].as_tensor())
    return positive, images[positive].contiguous(), None
