"""The volumes of a dataset by split. All other code gets volumes and tags from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from monai.data import MetaTensor

from camtools.data.case_names import case_name, with_cases
from camtools.data.geometry import SliceAxis
from camtools.data.patch_tags import PatchTagger
from camtools.data.slicing import dataset_slice_axis
from camtools.data.tag_source import TagSource
from camtools.data.tags import slice_tags

__all__ = ["Splits", "splits_of"]

SHOWN = 12


class Splits:
    """Training, validation and test volumes with their tags, without the masks of training volumes.

    The mask of a training item is replaced by a ``camtools.data.tag_source.TagSource``, which gives only the tags that
    are derived from the mask. Validation and test items keep their masks, for scores and for the choice of the epoch.
    Tags are derived when they are first needed, once per process.

    Args:
        training: volume items ``{image, label, slice_labels, patch_labels, case}``, see
            :func:`camtools.data.load_datalist`.
        validation: volume items.
        test: volume items.
        slice_axis: setting of the user, see :func:`camtools.data.dataset_slice_axis`.
        min_area_fraction: share of a slice's pixels (0..1) above which a mask makes the slice positive.
        full_supervision: keep the masks of training items. This is the upper bound of the papers' tables, not weak
            supervision.

    Raises:
        DataError: two items have the same case name.

    Example:
        >>> splits = Splits([{"image": "a.nii.gz", "label": "a_mask.nii.gz"}], test=[{"image": "b.nii.gz"}])
        >>> splits.training
        [{'image': 'a.nii.gz', 'case': 'a', 'tag_source': TagSource of a.nii.gz}]
        >>> [item["case"] for item in splits.all]
        ['a', 'b']
    """

    def __init__(
        self,
        training: Iterable[dict[str, Any]] = (),
        validation: Iterable[dict[str, Any]] = (),
        test: Iterable[dict[str, Any]] = (),
        slice_axis: SliceAxis = None,
        min_area_fraction: float = 0.0,
        full_supervision: bool = False,
    ) -> None:
        self.full_supervision = full_supervision
        self.training = [self._closed(item) for item in with_cases(training)]
        self.validation = with_cases(validation)
        self.test = with_cases(test)
        self.min_area_fraction = min_area_fraction
        self._setting = slice_axis
        self._slice_tags: dict[str, list[int]] = {}
        self._patch_tags: dict[str, torch.Tensor] = {}

    @property
    def by_name(self) -> dict[str, list[dict[str, Any]]]:
        """Items by name of the split."""
        return {"training": self.training, "validation": self.validation, "test": self.test}

    @property
    def tuning(self) -> list[dict[str, Any]]:
        """The training and validation items, on which a training depends."""
        return self.training + self.validation

    @property
    def scored(self) -> list[dict[str, Any]]:
        """The validation and test items, on which a method is scored."""
        return self.validation + self.test

    @property
    def all(self) -> list[dict[str, Any]]:
        """Items of all three splits."""
        return self.training + self.validation + self.test

    @property
    def shown(self) -> list[str]:
        """The case names of the first 12 scored items. The report shows their pictures."""
        return [item["case"] for item in self.scored[:SHOWN]]

    @cached_property
    def slice_axis(self) -> SliceAxis:
        """How the slices of this dataset are stacked, see :func:`camtools.data.dataset_slice_axis`."""
        return dataset_slice_axis(self.all, self._setting)

    def tags(self, item: dict[str, Any], image: MetaTensor | None = None) -> list[int]:
        """Tags of the slices of one volume, given or derived from its mask.

        Args:
            item: a volume item, of these splits or another one.
            image: the volume, if it has been read, see :func:`camtools.data.slice_tags`.

        Raises:
            DataError: see :func:`camtools.data.slice_tags`.
        """
        key = _key(item)
        if image is not None or key not in self._slice_tags:
            settings = (self.min_area_fraction, self.slice_axis, image)
            source = item.get("tag_source")
            if source is None or item.get("slice_labels") is not None:
                self._slice_tags[key] = slice_tags(item, *settings)
            else:
                self._slice_tags[key] = source.slice_tags(*settings)
            if source is not None and image is not None:
                source.check(image)
        return self._slice_tags[key]

    def patch_tags(self, item: dict[str, Any], tagger: PatchTagger) -> torch.Tensor:
        """Tags of the patches of one volume, bool ``(Z, N, K)``, given or derived from its mask.

        Raises:
            DataError: see :class:`camtools.data.PatchTagger`.
        """
        key = _key(item)
        if key not in self._patch_tags:
            source = item.get("tag_source")
            if source is None or item.get("patch_labels"):
                self._patch_tags[key] = tagger(item)
            else:
                self._patch_tags[key] = source.patch_tags(tagger)
        return self._patch_tags[key]

    def tagged(
        self, items: Sequence[dict[str, Any]] | None = None, tagger: PatchTagger | None = None
    ) -> list[dict[str, Any]]:
        """Items with their tags and without masks, for training and for pseudo-labels.

        Args:
            items: volume items; None takes all items of the splits that have tags or a mask.
            tagger: adds ``patch_tags``, bool ``(Z, N, K)``. A slice is then positive if one of its patches shows a
                class other than the background.

        Returns:
            New items with ``slice_labels``. With ``full_supervision`` they keep their masks.

        Raises:
            DataError: one of ``items`` has neither tags nor a mask, or has invalid tags.
        """
        if items is None:
            items = [item for item in self.all if _can_be_tagged(item, tagger)]
        return [self._tagged(item, tagger) for item in items]

    def _tagged(self, item: dict[str, Any], tagger: PatchTagger | None) -> dict[str, Any]:
        kept = dict(item) if self.full_supervision else _without(item, "label", "tag_source")
        if tagger is None:
            return kept | {"slice_labels": self.tags(item)}
        patches = self.patch_tags(item, tagger)
        positive = patches[:, :, 1:].flatten(1).any(dim=1)
        return kept | {"patch_tags": patches, "slice_labels": [int(tag) for tag in positive]}

    def _closed(self, item: dict[str, Any]) -> dict[str, Any]:
        """A training item whose mask is replaced by a tag source."""
        if self.full_supervision or not item.get("label"):
            return item
        return _without(item, "label") | {"tag_source": TagSource(str(item["image"]), str(item["label"]))}


def splits_of(items: Mapping[str, Sequence[dict[str, Any]]]) -> Splits:
    """Splits from items by name of the split, with the default settings."""
    return Splits(items.get("training", ()), items.get("validation", ()), items.get("test", ()))


def _key(item: dict[str, Any]) -> str:
    return f"{case_name(item)}\0{item['image']}"


def _without(item: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in keys}


def _can_be_tagged(item: dict[str, Any], tagger: PatchTagger | None) -> bool:
    given = item.get("slice_labels") if tagger is None else item.get("patch_labels")
    return given is not None or bool(item.get("label")) or "tag_source" in item
