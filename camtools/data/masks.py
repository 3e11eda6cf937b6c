"""What the values of a mask mean: 0 is the background, whole numbers above are the object, or several of them."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from camtools.data.errors import DataError

__all__ = ["one_mask"]

_TOLERANCE = 1e-3  # of a whole number, where a header scales the voxels


def one_mask(source: Path, volume: MetaTensor) -> MetaTensor:
    """A volume as a mask ``(1, X, Y, Z)`` of whole numbers >= 0: 1, 255 or any number above 0 is the object.

    Channels that are all the same, as in a grey picture saved as RGB, are one.

    Raises:
        DataError: different channels, numbers below 0, or fractions, whose threshold would be a guess.
    """
    if volume.shape[0] > 1:
        if not bool((volume == volume[:1]).all()):
            raise DataError(
                f"The mask {source} is a colour picture of {volume.shape[0]} channels: expected one channel, 0 for the "
                "background and 1 for the object. Save it with one number for each class."
            )
        volume = volume[:1]
    values = volume.as_tensor()
    lowest = float(values.min())
    if lowest < -_TOLERANCE:
        raise DataError(
            f"The mask {source} holds negative values, the lowest {lowest:g}: expected 0 for the background and 1 for "
            "the object. Correct the values, or the scaling in its header."
        )
    numbers = values.round()
    fractions = values[(values - numbers).abs() > _TOLERANCE]
    if len(fractions):
        raise DataError(
            f"The mask {source} holds {len(fractions)} voxels that are not whole numbers, such as "
            f"{float(fractions[0]):g} (the largest value is {float(values.max()):g}): expected 0 for the "
            "background and 1 for the object. Threshold it where it is a probability map, undo a division by 255, and "
            "save it as uint8."
        )
    return volume.round()
