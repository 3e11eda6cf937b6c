"""Training curves as inline SVG: small, sharp at any zoom, and coloured by the page for light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.ticker import MaxNLocator

__all__ = ["Point", "draw_curve", "series"]

WIDTH, HEIGHT = 280, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34

Point = tuple[float, float]


def series(history: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    """``(epoch, value)`` pairs of every quantity of a ``history.json``, the loss first.

    Values that are not finite numbers are left out, and a validation metric has a value only where it was computed.

    Example:
        >>> series([{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5, "val_dice": 0.8}])
        {'loss': [(1, 0.7), (2, 0.5)], 'val_dice': [(2, 0.8)]}
    """
    found: dict[str, list[Point]] = {}
    for row in history:
        for name, value in row.items():
            if name != "epoch" and _is_number(value) and _is_number(row.get("epoch")):
                found.setdefault(name, []).append((row["epoch"], value))
    return dict(sorted(found.items(), key=lambda item: item[0] != "loss"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def draw_curve(name: str, points: Sequence[Point]) -> str:
    """One quantity over the epochs, its best epoch marked (lowest for a loss, highest for a metric).

    Args:
        name: name of the quantity.
        points: ``(epoch, value)`` pairs in the order of the epochs, at least one.

    Returns:
        An ``<svg>`` element with a text alternative.

    Raises:
        ValueError: no point.

    Example:
        >>> draw_curve("loss", [(1, 0.7), (2, 0.5)]).count("<svg")
        1
    """
    if not points:
        raise ValueError(f"Expected at least one epoch of {name!r} to draw, found none.")
    best = (min if "loss" in name else max)(points, key=lambda point: point[1])
    summary = f"{name}: {points[0][1]:.4g} at epoch {points[0][0]:g}, {points[-1][1]:.4g} at epoch {points[-1][0]:g}"
    summary += f"; best {best[1]:.4g} at epoch {best[0]:g}"
    epochs = _axis([epoch for epoch, _ in points], integer=True)
    values = _axis([value for _, value in points], integer=False)
    place = _Placement(epochs, values)
    line = " ".join(f"{place.x(epoch):.1f},{place.y(value):.1f}" for epoch, value in points)
    x, y = place.x(best[0]), place.y(best[1])
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">'
        f"{_grid(place)}"
        f'<polyline class="line" points="{line}"/><circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        "</svg>"
    )


class _Placement:
    """Where values lie in the drawing: from the first to the last tick of each axis."""

    def __init__(self, epochs: Sequence[float], values: Sequence[float]) -> None:
        self.epochs, self.values = epochs, values

    def x(self, epoch: float) -> float:
        share = (epoch - self.epochs[0]) / (self.epochs[-1] - self.epochs[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.values[0]) / (self.values[-1] - self.values[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _axis(values: Sequence[float], integer: bool) -> list[float]:
    low, high = min(values), max(values)
    if high <= low:
        margin = 1.0 if integer else 0.1 * abs(high) or 0.1
        low, high = low - margin, high + margin
    return [float(tick) for tick in MaxNLocator(nbins=4, integer=integer).tick_values(low, high)]


def _grid(place: _Placement) -> str:
    bottom = HEIGHT - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for value in place.values:
        y = place.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for epoch in place.epochs:
        parts.append(f'<text x="{place.x(epoch):.1f}" y="{bottom + 15}" text-anchor="middle">{epoch:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">epoch</text>')
    return "".join(parts)
