"""Ranges of positive slices, and the tags that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Range", "merged", "ranges_of", "tags_of"]

Range = tuple[int, int]
"""First and last slice, both included."""


def merged(ranges: Iterable[Sequence[int]], slices: int) -> tuple[Range, ...]:
    """Ranges in order, without overlaps and without neighbours that touch.

    Args:
        ranges: first and last slice of each, in any order.
        slices: number of slices of the volume.

    Raises:
        ValueError: a range is not two whole numbers from 0 to ``slices - 1``.

    Example:
        >>> merged([(7, 5), (1, 2), (3, 3)], slices=9)
        ((1, 3), (5, 7))
    """
    result: list[Range] = []
    for first, last in sorted(_checked(pair, slices) for pair in ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def _checked(pair: Sequence[int], slices: int) -> Range:
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2
    if not is_pair or not all(isinstance(end, int) and not isinstance(end, bool) and 0 <= end < slices for end in pair):
        raise ValueError(f"ranges: expected pairs of slices from 0 to {slices - 1}, found {pair!r}.")
    return min(pair), max(pair)


def tags_of(ranges: Iterable[Range], slices: int) -> list[int]:
    """One 0 or 1 per slice.

    Example:
        >>> tags_of([(1, 2)], slices=4)
        [0, 1, 1, 0]
    """
    tags = [0] * slices
    for first, last in ranges:
        tags[first : last + 1] = [1] * (last + 1 - first)
    return tags


def ranges_of(tags: Sequence[int]) -> tuple[Range, ...]:
    """The ranges of the ones among the tags.

    Example:
        >>> ranges_of([0, 1, 1, 0, 1])
        ((1, 2), (4, 4))
    """
    positive = [(index, index) for index, tag in enumerate(tags) if tag]
    return merged(positive, len(tags))
