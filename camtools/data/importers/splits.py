"""Splits by patient: all cases of one person land in the same split."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from camtools.data.errors import DataError

__all__ = ["SPLIT_NAMES", "check_split", "split_patients"]

SPLIT_NAMES = ("training", "validation", "test")


def check_split(split: tuple[float, float, float], seed: int) -> None:
    """Stop at fractions or a seed that cannot be used.

    Raises:
        ValueError: not three positive fractions with sum 1, or the seed is no integer >= 0.

    Example:
        >>> check_split((0.8, 0.1, 0.1), seed=0)
    """
    if len(split) != 3 or not all(part > 0 for part in split) or not math.isclose(sum(split), 1, abs_tol=1e-6):
        raise ValueError(
            "Expected the split to be three positive fractions (training, validation, test) with sum 1, "
            f"found {tuple(split)}. Correct them."
        )
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"Expected a seed that is an integer >= 0, found {seed!r}. Choose another seed.")


def split_patients(patients: Iterable[str], split: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Assign every patient to a split, at random but always the same for the same patients, split and seed.

    Args:
        patients: names of patients; repeats and order do not matter.
        split: fractions of the patients for training, validation and test. Each gets one patient at least.
        seed: integer >= 0.

    Returns:
        Split by patient.

    Raises:
        DataError: fewer than three patients.
        ValueError: see :func:`check_split`.

    Example:
        >>> splits = split_patients(["a", "b", "c", "a"], (0.8, 0.1, 0.1), seed=0)
        >>> sorted(splits), sorted(splits.values())
        (['a', 'b', 'c'], ['test', 'training', 'validation'])
    """
    check_split(split, seed)
    names = sorted(set(patients))
    count = len(names)
    if count < 3:
        raise DataError(
            f"Expected 3 patients at least, one for each split, found {count}: {', '.join(names)}. "
            "Give the folder of the whole release."
        )
    training = min(max(round(count * split[0]), 1), count - 2)
    test = min(max(round(count * split[2]), 1), count - training - 1)
    sizes = (training, count - training - test, test)
    order = np.random.default_rng(seed).permutation(count)
    return {names[index]: name for index, name in zip(order, np.repeat(SPLIT_NAMES, sizes).tolist(), strict=True)}
