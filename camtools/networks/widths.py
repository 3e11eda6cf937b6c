"""Channel counts of narrower networks."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FEWEST_CHANNELS", "scaled_widths"]

# With 8 channels or fewer, channels last, oneDNN (torch 2.15) crashes in the backward pass of the 1x1 shortcuts.
FEWEST_CHANNELS = 16


def scaled_widths(channels: Sequence[int], width: float, fewest: int = FEWEST_CHANNELS) -> list[int]:
    """Multiply channel counts by a factor and round, but keep at least ``fewest``.

    Raises:
        ValueError: a width that is not positive.

    Example:
        >>> scaled_widths((64, 128, 256), width=0.125)
        [16, 16, 32]
    """
    if width <= 0:
        raise ValueError(f"width is a factor on the channel counts and must be positive, got {width}")
    return [max(fewest, round(count * width)) for count in channels]
