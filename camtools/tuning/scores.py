"""Dice of every candidate on every slice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from camtools.tuning.choice import MaskChoice
from camtools.tuning.slices import SliceKey
from camtools.tuning.statistics import patient_means

__all__ = ["ScoreTable"]

Floats = NDArray[np.float64]


class ScoreTable:
    """Candidates against slices. A candidate that was tried on a sample has values for the slices of the sample alone.

    The score of a candidate is the mean over patients of the mean Dice over a patient's positive slices, so that a
    patient with a large object counts as much as any other.

    Args:
        keys: the slices.
    """

    def __init__(self, keys: Sequence[SliceKey]) -> None:
        self.keys = list(keys)
        self.choices: list[MaskChoice] = []
        self._numbers: dict[str, int] = {}
        self._columns: list[Floats] = []

    def number(self, choice: MaskChoice) -> int:
        """Number of a candidate, which is new if it has none."""
        name = repr(choice)
        if name not in self._numbers:
            self._numbers[name] = len(self.choices)
            self.choices.append(choice)
            self._columns.append(np.full(len(self.keys), np.nan))
        return self._numbers[name]

    def fill(self, choice: MaskChoice, rows: Sequence[int], dice: Sequence[float]) -> None:
        """Store the Dice of some slices."""
        self._columns[self.number(choice)][list(rows)] = dice

    def missing(self, choice: MaskChoice) -> NDArray[np.bool_]:
        """Which slices have no value, bool ``(N,)``."""
        return np.isnan(self._columns[self.number(choice)])

    @property
    def dice(self) -> Floats:
        """Dice ``(N, C)`` of slices and candidates; NaN where it was not computed."""
        return np.stack(self._columns, axis=1) if self._columns else np.empty((len(self.keys), 0))

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Which candidates have a value for every slice, bool ``(C,)``."""
        return np.asarray(~np.isnan(self.dice).any(axis=0))

    @property
    def patients(self) -> list[str]:
        """The patients, in order of appearance."""
        return list(dict.fromkeys(key.patient for key in self.keys))

    def by_patient(self) -> Floats:
        """Mean Dice ``(P, C)`` of each patient of :attr:`patients`; NaN without a value."""
        return patient_means(self.dice, [key.patient for key in self.keys])[1]

    def seen(self, left_out: Collection[str] = ()) -> NDArray[np.bool_]:
        """Which patients are not left out, bool ``(P,)``."""
        return np.array([patient not in left_out for patient in self.patients])
