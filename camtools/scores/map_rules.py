"""Rules that turn activation maps into masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from camtools.scores.classifier import TrainedClassifier
from camtools.scores.map_methods import checked_names
from camtools.scores.validation_maps import MappedSlices
from camtools.thresholds import Rule, map_threshold, per_pixel

__all__ = ["RULES", "checked_rules", "masks_by_rule"]

RULES = ("otsu", "midpoint", "search", "crf")


def checked_rules(rules: Sequence[str]) -> list[str]:
    """Rules in the order given, each once.

    Raises:
        ValueError: an unknown rule, or none.
    """
    return checked_names("rules", rules, RULES)


def masks_by_rule(one: MappedSlices, rule: str, searched: float | None, classifier: TrainedClassifier) -> Tensor:
    """Masks of the maps of one method on one volume.

    ``crf`` refines the maps as probabilities (:attr:`camtools.scores.validation_maps.MappedSlices.probabilities`) by
    the classifier's CRF, on its device; a pixel is foreground where its refined probability exceeds 0.5. Under the
    other rules it is where the map, divided by its maximum, exceeds a threshold.

    Args:
        one: the maps.
        rule: one of :data:`RULES`.
        searched: threshold in [0, 1] of the rule ``search``; None for the others.
        classifier: for its CRF.

    Returns:
        bool ``(B, 1, H, W)``, on the CPU.
    """
    if rule == "crf":
        probabilities = one.probabilities.to(classifier.device)
        return classifier.crf(one.images.to(classifier.device), probabilities)[:, 1:].cpu() > 0.5
    if searched is not None:
        return one.maps > searched
    return one.maps > per_pixel(map_threshold(one.maps, cast(Rule, rule)))
