"""Settings by which a new dataset is divided at random: fractions of the splits, and the seed."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["SPLIT_NAMES", "check_fractions", "check_seed"]

SPLIT_NAMES = ("training", "validation", "test")


def check_fractions(fractions: tuple[float, float, float]) -> None:
    """Check the fractions of training, validation and test.

    Raises:
        ValueError: not three positive fractions with sum 1.

    Example:
        >>> check_fractions((0.8, 0.1, 0.1))
    """
    positive = all(part > 0 for part in fractions)
    if len(fractions) != 3 or not positive or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(
            "Expected three positive fractions (training, validation, test) with sum 1, "
            f"found {tuple(fractions)}. Correct them."
        )


def check_seed(seed: int) -> None:
    """Check the seed of a random choice.

    Raises:
        ValueError: the seed is negative or not an integer.

    Example:
        >>> check_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"Expected a seed that is an integer >= 0, found {seed!r}. Choose another seed.")
