"""The voxels over which statistics of intensities are taken."""

from __future__ import annotations

from typing import Literal

__all__ = ["Scope", "scope_axes"]

Scope = Literal["slice", "volume"]


def scope_axes(scope: Scope) -> tuple[int, ...]:
    """Axes of ``(C, X, Y, Z)`` over which statistics are taken.

    Raises:
        ValueError: ``scope`` is neither ``"slice"`` nor ``"volume"``.

    Example:
        >>> scope_axes("slice"), scope_axes("volume")
        ((1, 2), (1, 2, 3))
    """
    if scope == "slice":
        return (1, 2)
    if scope == "volume":
        return (1, 2, 3)
    raise ValueError(f"Expected scope to be 'slice' or 'volume', found {scope!r}. Choose one of them.")
