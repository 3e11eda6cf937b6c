"""True positives, false positives and false negatives of anything that can be counted: pixels, objects."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import ClassVar, TypeVar

__all__ = ["Counts"]

_Self = TypeVar("_Self", bound="Counts")


@dataclass(frozen=True)
class Counts:
    r"""Hits and misses over any number of images, pooled; counts of the same kind add up with ``+``.

    .. math::
        P = \frac{TP}{TP + FP}, \quad R = \frac{TP}{TP + FN}, \quad
        F_1 = \frac{2 TP}{2 TP + FP + FN} = \frac{2 P R}{P + R}

    If there is nothing to find and nothing was found, all are 1; if exactly one of the two is missing, all are 0.
    No value is ever NaN.

    Attributes:
        true_positive: what was found correctly, >= 0.
        false_positive: what was found but does not exist, >= 0.
        false_negative: what exists but was not found, >= 0.

    Raises:
        ValueError: a negative count.
    """

    counted_with: ClassVar[str] = "the function of their kind"

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __post_init__(self) -> None:
        """Check the counts."""
        if min(astuple(self)) < 0:
            raise ValueError(f"expected counts, 0 or more, found {self}; count with {self.counted_with}")

    def __add__(self: _Self, other: _Self) -> _Self:
        """Counts over the images of both."""
        return type(self)(*(own + more for own, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def precision(self) -> float:
        """Share of what was found that exists, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of what exists that was found, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (micro-F1: of the pooled counts), 0 to 1."""
        return self._share(2 * self.true_positive, 2 * self.true_positive + self._wrong)

    @property
    def _wrong(self) -> int:
        return self.false_positive + self.false_negative

    def _share(self, part: int, whole: int) -> float:
        if whole > 0:
            return part / whole
        return 0.0 if self._wrong else 1.0
