"""What the values of a mask mean: 0 is the background, larger whole numbers are one or more objects."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from camtools.data.errors import DataError

__all__ = ["one_mask"]

_TOLERANCE = 1e-3  # distance from a whole number that the scaling of a header may cause


def one_mask(source: Path, volume: MetaTensor) -> MetaTensor:
    """A volume as a mask ``(1, X, Y, Z)`` of whole numbers >= 0: 0 is the background, any other number an object.

    Equal channels, as in a grey picture saved as RGB, become one.

    Raises:
        DataError: the channels differ, or a value is negative or a fraction: its threshold would be a guess.
    """
    if volume.shape[0] > 1:
        if not bool((volume == volume[:1]).all()):
            raise DataError(
                f"Expected a mask of one channel, 0 for the background and 1 for the object, found {volume.shape[0]} "
                f"channels that differ in {source}. Save it with one number per class."
            )
        volume = volume[:1]
    values = volume.as_tensor()
    lowest = float(values.min())
    if lowest < -_TOLERANCE:
        raise DataError(
            f"Expected a mask with 0 for the background and 1 for the object, found negative values, the lowest "
            f"{lowest:g}, in {source}. Correct the values, or the scaling in its header."
        )
    numbers = values.round()
    fractions = values[(values - numbers).abs() > _TOLERANCE]
    if len(fractions):
        raise DataError(
            f"Expected a mask with 0 for the background and 1 for the object, found {len(fractions)} voxels that are "
            f"not whole numbers, such as {float(fractions[0]):g} (the largest value is {float(values.max()):g}), in "
            f"{source}. Threshold it if it is a probability map, undo a division by 255, and save it as uint8."
        )
    return volume.round()
