"""Which candidate wins, and whether its lead is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camtools.tuning.choice import MaskChoice
from camtools.tuning.methods import simplicity
from camtools.tuning.statistics import paired_interval

__all__ = ["Decision", "approach", "best_of_approaches", "decide"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """A winner and how sure it is.

    Attributes:
        chosen: number of the candidate that is taken.
        best: number of the candidate with the highest mean over patients; ``chosen`` or a rival of it.
        runner_up: number of the best candidate of another approach; None if there is none.
        lead: mean of ``best`` minus mean of ``runner_up``.
        interval: 95% interval of the lead, from a paired bootstrap over patients.
    """

    chosen: int
    best: int
    runner_up: int | None
    lead: float
    interval: tuple[float, float]

    @property
    def within_noise(self) -> bool:
        """Whether the lead over the runner-up may be chance, since its interval contains 0."""
        return self.runner_up is not None and self.interval[0] <= 0


def approach(choice: MaskChoice) -> tuple[Any, ...]:
    """What makes two candidates different in kind: the map and the refinement, whatever thresholds and parameters.

    Example:
        >>> first = MaskChoice("layercam", ("layer3",), threshold=0.4)
        >>> approach(first) == approach(MaskChoice("layercam", ("layer3",), threshold=0.5))
        True
    """
    return (*choice.map_name, choice.refinement)


def best_of_approaches(means: Floats, choices: Sequence[MaskChoice], eligible: Sequence[int]) -> list[int]:
    """The best candidate of each approach, best first; of equal ones the simplest.

    Args:
        means: ``(C,)``, mean of each candidate.
        choices: all candidates.
        eligible: numbers of the candidates that may win.
    """
    ranked = sorted(eligible, key=lambda number: (-means[number], simplicity(choices[number]), number))
    first: dict[tuple[Any, ...], int] = {}
    for number in ranked:
        first.setdefault(approach(choices[number]), number)
    return list(first.values())


def decide(
    by_patient: Floats,
    choices: Sequence[MaskChoice],
    eligible: Sequence[int],
    tolerance: float = 0.01,
    resamples: int = 2000,
    seed: int = 0,
) -> Decision:
    """Take the best candidate, or a simpler one that may be as good.

    Candidates of other approaches are rivals of the best one if their mean is at most ``tolerance`` lower and if the
    95% interval of the difference (paired bootstrap over patients) contains 0. The simplest of the best one and its
    rivals (``camtools.tuning.methods.simplicity``) is taken.

    Args:
        by_patient: ``(P, C)``, mean Dice of each patient, without NaN in the eligible columns.
        choices: all candidates.
        eligible: numbers of the candidates that may win.
        tolerance: Dice that simplicity may cost, in 0..1.
        resamples: number of bootstrap samples.
        seed: of the random numbers.

    Raises:
        ValueError: no eligible candidate.
    """
    if not eligible:
        raise ValueError("expected one or more candidates to choose from, found none")
    means = by_patient.mean(axis=0)
    ranked = best_of_approaches(means, choices, eligible)
    best = ranked[0]

    def difference(number: int) -> tuple[float, float]:
        return paired_interval(by_patient[:, best], by_patient[:, number], resamples, seed)

    rivals = [
        number for number in ranked[1:] if means[number] >= means[best] - tolerance and difference(number)[0] <= 0
    ]
    chosen = min([best, *rivals], key=lambda number: (simplicity(choices[number]), -means[number], number))
    if len(ranked) == 1:
        return Decision(chosen, best, None, 0.0, (0.0, 0.0))
    second = ranked[1]
    return Decision(chosen, best, second, float(means[best] - means[second]), difference(second))
