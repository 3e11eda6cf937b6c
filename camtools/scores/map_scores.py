"""How well activation maps of a trained classifier agree with the masks, before any refinement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from camtools.metrics import PixelCounts, SegmentationScores, dice, hd95, iou, pixel_counts
from camtools.scores.classifier import TrainedClassifier
from camtools.scores.map_methods import build_cams
from camtools.scores.map_rules import checked_rules, masks_by_rule
from camtools.scores.spool import Spool
from camtools.scores.validation_maps import MappedSlices, ObjectSlices, mapped_slices
from camtools.thresholds import DiceSearch

__all__ = ["CamQuality", "CamScores", "CamView", "evaluate_cams"]

SHEET_CASES = 6


@dataclass
class CamScores:
    """Scores of one method under one thresholding rule.

    Attributes:
        method: name of the method.
        rule: name of the rule.
        threshold: the one that ``search`` found, in [0, 1]; None for the other rules.
        counts: pixels of all scored slices, pooled.
        slices: ``(case, slice of the file, scores)`` of each scored slice; distances in pixels.
    """

    method: str
    rule: str
    threshold: float | None = None
    counts: PixelCounts = field(default_factory=PixelCounts)
    slices: list[tuple[str, int, SegmentationScores]] = field(default_factory=list)

    @property
    def dice(self) -> tuple[float, float]:
        """Mean and standard deviation (population) of Dice over the slices, 0 to 1."""
        return self._spread([scores.dice for _, _, scores in self.slices])

    @property
    def iou(self) -> tuple[float, float]:
        """Mean and standard deviation (population) of IoU over the slices, 0 to 1."""
        return self._spread([scores.iou for _, _, scores in self.slices])

    @property
    def hd95(self) -> tuple[float, float]:
        """Mean and standard deviation (population) of HD95 over the slices, in pixels."""
        return self._spread([scores.hd95_px for _, _, scores in self.slices])

    @staticmethod
    def _spread(values: list[float]) -> tuple[float, float]:
        return float(np.mean(values)), float(np.std(values))


@dataclass(frozen=True)
class CamView:
    """The middle slice of one case with the maps of all methods: a row of the overlay sheet.

    Attributes:
        case: name of the volume.
        path: its file.
        slice_index: slice of the file.
        image: ``(X, Y)`` intensities, slice axis removed, in-plane axes along R, A, S.
        truth: ``(X, Y)`` bool.
        overlays: method -> (map in [0, 1], mask under the first rule, Dice of that mask).
    """

    case: str
    path: str
    slice_index: int
    image: Tensor
    truth: Tensor
    overlays: dict[str, tuple[Tensor, Tensor, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class CamQuality:
    """Scores of all methods under all rules, method by method, and a few slices to look at."""

    split: str
    scores: list[CamScores]
    views: list[CamView]


def evaluate_cams(
    classifier: TrainedClassifier,
    methods: Sequence[str],
    rules: Sequence[str] = ("otsu", "midpoint", "search"),
    split: str = "validation",
    target: int = 1,
    batch_size: int | None = None,
    cfd_options: Mapping[str, Any] | None = None,
) -> CamQuality:
    """Score activation maps as segmentations of the slices that show the object.

    Maps and masks are compared in 2D at the prepared resolution, the one the classifier sees; masks are brought to it
    by nearest-neighbour resampling. The rule ``crf`` refines each map by the dense CRF of the classifier: maps of
    Cfd-CAM as they are, other maps min-max scaled (:func:`camtools.scores.map_rules.masks_by_rule`). Under the other
    rules each map is divided by its maximum and thresholded (a pixel is foreground where the map exceeds the
    threshold): ``otsu`` and ``midpoint`` find the threshold of each map in the map alone
    (:mod:`camtools.thresholds`); ``search`` takes one threshold for a method, that of the best mean Dice over the
    slices of the *validation* split, whatever ``split`` is. On the validation split itself its scores are therefore
    those of a threshold tuned on the very slices it is scored on.

    The maps of one method on one volume are in memory at a time. For ``search`` the maps of the validation slices stay
    in temporary files until the thresholds are known, with the images: 4 bytes a pixel for each method and each
    channel.

    Source: LTGrad-CAM (Dong et al., 2023), section 3.1 and tables 2-4 (IoU, precision, recall and F1 of pooled pixels,
    Otsu's threshold); UM-CAM (Fu et al., 2023), table 1 (Dice and HD95 per slice, a searched threshold); Cfd-CAM (Chen
    et al., 2023), tables 1-2 (Dice, IoU and HD95 per slice, a dense CRF).

    Args:
        classifier: trained classifier and its data.
        methods: keys of :data:`camtools.scores.map_methods.CAM_METHODS`.
        rules: some of :data:`camtools.scores.map_rules.RULES`; the first one gives the masks of the views.
        split: ``"validation"`` or ``"test"``.
        target: class of the object.
        batch_size: images per pass; None chooses a number that is fast on the device.
        cfd_options: further arguments of Cfd-CAM, see :func:`camtools.scores.map_methods.build_cams`.

    Returns:
        The scores and views.

    Raises:
        ValueError: an unknown method, rule or split, the training split, or a split without masks or without object.
        DataError: a file that cannot be used.
        ImportError: ``crf`` without the library that its backend needs.
    """
    rules = checked_rules(rules)
    cams = build_cams(methods, classifier.network, batch_size, cfd_options)
    mapped: Iterable[MappedSlices] = mapped_slices(classifier, cams, split, target)
    thresholds: dict[str, float] = {}
    if "search" in rules:
        classifier.masked_items(split)  # a wrong split is named before the search
        kept: Spool[MappedSlices] = Spool()
        searches = {method: DiceSearch() for method in cams}
        for one in mapped_slices(classifier, cams, "validation", target):
            searches[one.method].add(one.maps, one.slices.masks)
            if split == "validation":
                kept.append(one)
        thresholds = {method: search.best() for method, search in searches.items()}
        mapped = kept if split == "validation" else mapped
    results: dict[tuple[str, str], CamScores] = {}
    for method in cams:
        for rule in rules:
            threshold = thresholds[method] if rule == "search" else None
            results[method, rule] = CamScores(method, rule, threshold)
    views: dict[str, CamView] = {}
    for one in mapped:
        for rule in rules:
            result = results[one.method, rule]
            masks = masks_by_rule(one, rule, result.threshold, classifier)
            _add(result, one.slices, masks)
            if rule == rules[0]:
                _view(views, one, masks, result)
    return CamQuality(split, list(results.values()), list(views.values()))


def _add(result: CamScores, slices: ObjectSlices, masks: Tensor) -> None:
    truth = slices.masks
    result.counts = result.counts + pixel_counts(masks, truth)
    columns = [metric(masks, truth).tolist() for metric in (dice, iou, hd95)]
    for index, *values in zip(slices.indices, *columns, strict=True):
        result.slices.append((slices.case, index, SegmentationScores(*values)))


def _view(views: dict[str, CamView], one: MappedSlices, masks: Tensor, result: CamScores) -> None:
    slices, shown = one.slices, one.slices.shown
    if slices.case not in views:
        if len(views) == SHEET_CASES:
            return
        truth = slices.masks[shown, 0]
        views[slices.case] = CamView(slices.case, slices.path, slices.indices[shown], slices.picture, truth)
    scores = result.slices[shown - len(slices.indices)][2]
    views[slices.case].overlays[one.method] = (one.maps[shown, 0], masks[shown, 0], scores.dice)
