"""The channels of an image: their number, compared with the input of the network, and those that pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from camtools.data.errors import DataError
from camtools.data.file_kinds import is_photograph

__all__ = ["check_channels", "shown_channels"]

T = TypeVar("T", NDArray[Any], torch.Tensor)


def check_channels(source: str | Path, image: torch.Tensor, expected: int | None) -> None:
    """Raise an error where an image and the input of the network have different numbers of channels.

    Args:
        source: the file, for messages.
        image: ``(C, X, Y, Z)``.
        expected: channels of the network's input; None: any number.

    Raises:
        DataError: the numbers differ.
    """
    found = int(image.shape[0])
    if expected is None or found == expected:
        return
    kinds = {1: " (grey values)", 3: " (colour)"}
    unit = "channel" if expected == 1 else "channels"
    raise DataError(
        f"Expected {expected} {unit}{kinds.get(expected, '')} as input of the network, found "
        f"{found}{kinds.get(found, '')} in {source}. {_advice(Path(source), found, expected)}; or, where the bundle "
        f"has the knob in_channels, train with in_channels {found}."
    )


def shown_channels(image: T) -> T:
    """The channels that a picture of an image shows: three as red, green and blue, of any other number the first.

    Args:
        image: ``(C, ...)``.

    Returns:
        ``(3, ...)`` or ``(1, ...)``.

    Example:
        >>> shown_channels(torch.tensor([[1], [2], [3], [4]])).tolist()
        [[1]]
    """
    return image if image.shape[0] == 3 else image[:1]


def _advice(source: Path, found: int, expected: int) -> str:
    if is_photograph(source) and expected == 1:
        return f"Convert it to grey values, in Python: PIL.Image.open({source.name!r}).convert('L')"
    if is_photograph(source) and expected == 3:
        return "Give colour images"
    if expected == 1:
        return "Give files of one channel"
    if found == 1:
        return (
            f"Give files with {expected} channels along the fourth axis ('camtools channels FOLDER --output-dir DIR' "
            "joins files that end in _0000, _0001, ...)"
        )
    return f"Give files with the {expected} channels of the training, in the same order"
