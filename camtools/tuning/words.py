"""Candidates in words, and which of them are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camtools.tuning.choice import MaskChoice
from camtools.tuning.decision import best_of_approaches
from camtools.tuning.search import SearchResult

__all__ = ["describe", "numbers", "shown_candidates"]

SHOWN = 12


def describe(choice: MaskChoice) -> str:
    """A choice in words.

    Example:
        >>> describe(MaskChoice("layercam", ("layer2", "layer3"), threshold=0.4, refinement="crf"))
        'layercam of layer2 and layer3 (mean), threshold 0.4, crf'
    """
    layers = f" of {' and '.join(choice.layers)}" if choice.layers else ""
    fusion = f" ({choice.fusion})" if len(choice.layers) > 1 else ""
    options = f" {_named(choice.options)}" if choice.options else ""
    parameters = f" {_named(choice.parameters)}" if choice.parameters else ""
    level = choice.threshold if isinstance(choice.threshold, str) else f"{choice.threshold:g}"
    mirrored = ", mirrored" if choice.mirrored else ""
    sizes = "" if choice.scales == (1.0,) else f", sizes {numbers(choice.scales)}"
    refinement = "" if choice.refinement == "none" else f", {choice.refinement}{parameters}"
    return f"{choice.method}{options}{layers}{fusion}{mirrored}{sizes}, threshold {level}{refinement}"


def numbers(values: Sequence[float]) -> str:
    """Numbers in words.

    Example:
        >>> numbers((1.0, 1.25))
        '1 1.25'
    """
    return " ".join(f"{value:g}" for value in values)


def shown_candidates(search: SearchResult) -> list[int]:
    """The best 12 finalists of different kinds, best first, and the chosen one."""
    means = search.table.by_patient().mean(axis=0)
    ranked = best_of_approaches(means, search.table.choices, search.finalists)[:SHOWN]
    return ranked if search.decision.chosen in ranked else [*ranked, search.decision.chosen]


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
