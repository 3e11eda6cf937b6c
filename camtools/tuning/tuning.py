"""From a trained classifier and its validation volumes to a choice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camtools.scores.classifier import TrainedClassifier
from camtools.scores.masked import items_with_mask
from camtools.tuning.choice import MaskChoice
from camtools.tuning.default import default_choice
from camtools.tuning.evidence import map_evidence, rank_agreement
from camtools.tuning.maps import SpooledMaps, spool_maps
from camtools.tuning.methods import checked_methods, map_choices
from camtools.tuning.search import SearchResult, search_masks
from camtools.tuning.settings import TuningSettings
from camtools.tuning.slices import SliceKey, item_patients, prepared_slices

__all__ = ["Tuning", "tune_masks"]

logger = logging.getLogger("camtools")


@dataclass(frozen=True)
class Tuning:
    """What a tuning found.

    Attributes:
        choice: how masks are to be made: the winner, or without masks the default.
        settings: what was tried.
        slices: the slices.
        maps: the maps, each with Otsu's threshold.
        evidence: of each map, see :func:`camtools.tuning.mask_evidence`; empty if it was not asked for.
        search: scores against masks; None without masks.
    """

    choice: MaskChoice
    settings: TuningSettings
    slices: list[SliceKey]
    maps: list[MaskChoice]
    evidence: list[float]
    search: SearchResult | None

    @property
    def agreement(self) -> float | None:
        """Spearman's correlation over the maps of evidence and Dice, both of the masks at Otsu's threshold."""
        if self.search is None or not self.evidence:
            return None
        table = self.search.table
        means = table.by_patient().mean(axis=0)
        return rank_agreement(self.evidence, [float(means[table.number(one)]) for one in self.maps])


def tune_masks(
    classifier: TrainedClassifier,
    settings: TuningSettings | None = None,
    target: int = 1,
    split: str = "validation",
) -> Tuning:
    """Choose map, layers, fusion, threshold and refinement on validation volumes.

    With masks the choice is the one with the best Dice (:func:`camtools.tuning.search_masks`). Where no validation
    volume has a mask, it is the default (:func:`camtools.tuning.default_choice`), and the maps are ranked by evidence
    alone. Where there are no positive slices at all, it is the default.

    Args:
        classifier: trained classifier and its data.
        settings: what is tried; None: the default.
        target: class of the object; 0 for a classifier of one logit.
        split: ``"validation"``, the only split that may choose.

    Raises:
        ValueError: another split, an unknown method, or validation volumes with masks and no positive slice.
        DataError: a file that cannot be used.
    """
    settings = settings or TuningSettings()
    names = checked_methods(settings.methods)
    items, masked = _items(classifier, split)
    if not items:
        logger.warning("tune: no validation volume has masks or tags, the default is taken")
        return Tuning(default_choice(classifier.network, settings.scales), settings, [], [], [], None)
    patients = item_patients(items, settings.patient)
    slices = prepared_slices(classifier, items, patients)
    network, device = classifier.network, classifier.device
    spooled = spool_maps(slices, names, network, target, device, settings, len(items))
    keys = spooled.keys
    maps = []
    for name in spooled.methods:
        maps += map_choices(name, network, settings.layers, settings.mirrored, settings.scales)
    evidence = _evidence(spooled, maps, classifier, target, settings)
    if not masked:
        logger.warning("tune: no validation volume has a mask, the default is taken and maps are ranked without masks")
        return Tuning(default_choice(network, settings.scales), settings, keys, maps, evidence, None)
    search = search_masks(spooled, maps, settings, device)
    return Tuning(search.choice, settings, keys, maps, evidence, search)


def _items(classifier: TrainedClassifier, split: str) -> tuple[list[dict[str, Any]], bool]:
    """Volumes with masks; where there is none, those with tags."""
    if split != "validation":
        raise ValueError(
            f"split: expected 'validation', found {split!r}. Masks of training volumes give slice tags and nothing "
            "else, and those of test volumes are for the final scores: tune on the validation split."
        )
    given = classifier.splits.get(split, ())
    if items_with_mask(given):
        return classifier.masked_items(split), True
    return [dict(item) for item in given if _has_tags(item)], False


def _has_tags(item: Mapping[str, Any]) -> bool:
    return item.get("slice_labels") is not None


def _evidence(
    spooled: SpooledMaps,
    maps: list[MaskChoice],
    classifier: TrainedClassifier,
    target: int,
    settings: TuningSettings,
) -> list[float]:
    if settings.evidence_slices == 0:
        return []
    return map_evidence(
        spooled, maps, classifier.network, target, classifier.device, settings.evidence_slices, settings.seed
    )
