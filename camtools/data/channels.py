"""The number of channels of an image, compared with the input of the network."""

from __future__ import annotations

from pathlib import Path

import torch

from camtools.data.errors import DataError

__all__ = ["check_channels"]


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
    unit, convert = "channels", "Convert it to as many channels"
    if expected == 1:
        unit = "channel"
        convert = f"Convert it to grey values, in Python: PIL.Image.open({Path(source).name!r}).convert('L')"
    elif expected == 3:
        convert = "Give colour images"
    raise DataError(
        f"Expected {expected} {unit}{kinds.get(expected, '')} as input of the network, found "
        f"{found}{kinds.get(found, '')} in {source}. {convert}; or, where the bundle has the knob in_channels, train "
        f"with in_channels {found}."
    )
