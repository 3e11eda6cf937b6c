"""Means over patients, how sure they are, and folds of patients."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MeanInterval",
    "bootstrap_interval",
    "mean_interval",
    "mean_of_known",
    "paired_interval",
    "patient_folds",
    "patient_means",
    "spread_sample",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVELS = (2.5, 97.5)  # percentiles


class MeanInterval(NamedTuple):
    """Mean over patients and its 95% interval, of every column.

    Attributes:
        mean: ``(C,)``; NaN for a column without values, as the ends.
        low: lower end, ``(C,)``.
        high: upper end, ``(C,)``.
    """

    mean: Floats
    low: Floats
    high: Floats


def patient_means(values: Floats, patients: Sequence[str]) -> tuple[list[str], Floats]:
    """Mean of the slices of every patient.

    Args:
        values: ``(N, C)``, a row for a slice; NaN where a slice has no value.
        patients: patient of each slice.

    Returns:
        The patients in order of appearance, and ``(P, C)``; NaN for a patient without a value.

    Example:
        >>> patient_means(np.array([[1.0], [0.0], [0.4]]), ["a", "a", "b"])
        (['a', 'b'], array([[0.5],
               [0.4]]))
    """
    names = list(dict.fromkeys(patients))
    of_slice = np.array([names.index(patient) for patient in patients])
    rows = [mean_of_known(values[of_slice == number]) for number in range(len(names))]
    return names, np.array(rows).reshape(len(names), values.shape[1])


def mean_of_known(values: Floats) -> Floats:
    """Mean over the first axis without NaN; NaN where there is nothing else.

    Example:
        >>> mean_of_known(np.array([[1.0, np.nan], [0.0, np.nan]]))
        array([0.5, nan])
    """
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1:], np.nan), where=count > 0)


def mean_interval(means: Floats, resamples: int = 2000, seed: int = 0) -> MeanInterval:
    """Mean over patients and its 95% interval, of every column (:func:`bootstrap_interval`).

    Args:
        means: ``(P, C)``, one row for a patient; NaN where a patient has no value.
        resamples: number of bootstrap samples of patients.
        seed: of the random numbers.

    Returns:
        Mean, lower and upper end. With one patient the interval is that value.
    """
    low, high = bootstrap_interval(means, resamples, seed)
    return MeanInterval(mean_of_known(means), low, high)


def bootstrap_interval(means: Floats, resamples: int = 2000, seed: int = 0) -> tuple[Floats, Floats]:
    """95% interval of the mean over patients: percentiles of the means of patients drawn with replacement.

    Source: Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 1979; percentile interval.

    Example:
        >>> low, high = bootstrap_interval(np.array([[0.0], [1.0]]), resamples=1000)
        >>> low.tolist(), high.tolist()
        ([0.0], [1.0])
    """
    weights = _draws(len(means), resamples, seed)
    known = ~np.isnan(means)
    count = weights @ known
    total = weights @ np.where(known, means, 0.0)
    drawn = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without values is NaN
        low, high = np.nanpercentile(drawn, LEVELS, axis=0)
    return low, high


def paired_interval(first: Floats, second: Floats, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% interval of the mean difference of two choices over the same patients.

    Args:
        first: ``(P,)``.
        second: ``(P,)``, of the same patients.
        resamples: number of bootstrap samples of patients.
        seed: of the random numbers.

    Example:
        >>> paired_interval(np.array([0.7, 0.9]), np.array([0.5, 0.7]), resamples=100)
        (0.2, 0.2)
    """
    low, high = bootstrap_interval((first - second)[:, None], resamples, seed)
    return round(float(low[0]), 12), round(float(high[0]), 12)


def patient_folds(patients: Sequence[str], folds: int | None = None, seed: int = 0) -> list[list[str]]:
    """Patients to leave out together, each exactly once.

    Args:
        patients: names; repeats do not matter.
        folds: number of folds. None: as many as patients, at most 20.
        seed: of the random order.

    Returns:
        The folds; none for fewer than 3 patients, where the rest could choose nothing.

    Raises:
        ValueError: fewer than 2 folds.

    Example:
        >>> patient_folds(["a", "b", "c"])
        [['a'], ['b'], ['c']]
    """
    if folds is not None and folds < 2:
        raise ValueError(f"folds: expected 2 or more, found {folds}.")
    names = sorted(set(patients))
    if len(names) < 3:
        return []
    count = min(folds or 20, len(names))
    order = names if count == len(names) else [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    return [sorted(order[start::count]) for start in range(count)]


def spread_sample(patients: Sequence[str], size: int, seed: int = 0) -> list[int]:
    """Slices of a sample that takes one slice of every patient in turn, at random within a patient.

    Args:
        patients: patient of each slice.
        size: number of slices; all of them if there are fewer.
        seed: of the random order.

    Returns:
        Positions of the slices, in increasing order.

    Example:
        >>> chosen = spread_sample(["a", "a", "a", "b"], 2)
        >>> len(chosen), 3 in chosen
        (2, True)
    """
    order = np.random.default_rng(seed).permutation(len(patients))
    turns: dict[str, int] = {}
    ranked = []
    for place, index in enumerate(order):
        turn = turns.get(patients[index], 0)
        turns[patients[index]] = turn + 1
        ranked.append((turn, place, int(index)))
    return sorted(index for _, _, index in sorted(ranked)[:size])


def _draws(patients: int, resamples: int, seed: int) -> Floats:
    """How often each bootstrap sample draws each patient: ``(R, P)``."""
    drawn = np.random.default_rng(seed).integers(patients, size=(resamples, patients))
    weights = np.zeros((resamples, patients))
    np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1.0)
    return weights
