"""How many channels an image has, against what a network takes."""

from __future__ import annotations

from pathlib import Path

import torch

from camtools.data.errors import DataError

__all__ = ["check_channels"]


def check_channels(source: str | Path, image: torch.Tensor, expected: int | None) -> None:
    """Stop at an image of another number of channels than the network takes.

    Args:
        source: file of the image.
        image: ``(C, X, Y, Z)``.
        expected: channels of the network's input; None: any number.

    Raises:
        DataError: the numbers differ.
    """
    found = int(image.shape[0])
    if expected is None or found == expected:
        return
    kinds = {1: " (grey values)", 3: " (colour)"}
    convert = "Convert it to as many channels"
    if expected == 1:
        convert = f"Convert it to grey values, in Python: PIL.Image.open({Path(source).name!r}).convert('L')"
    elif expected == 3:
        convert = "Give colour images"
    raise DataError(
        f"{source} has {found} channels{kinds.get(found, '')}, expected {expected}{kinds.get(expected, '')} as the "
        f"network takes. {convert}; or, where the bundle has the knob in_channels, train with in_channels {found}."
    )
