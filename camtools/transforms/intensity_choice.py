"""The scaling of intensities by its name, for the knob ``intensity`` of the bundles."""

from __future__ import annotations

from typing import Any

from monai.transforms import MapTransform, ScaleIntensityd

from camtools.transforms.intensities import ScaleSlicesd
from camtools.transforms.percentiles import ScalePercentilesd
from camtools.transforms.zscore import ZScored

__all__ = ["intensity"]

# Named: class and its arguments.
UNIT: dict[str, tuple[type[MapTransform], dict[str, Any]]] = {
    "slice": (ScaleSlicesd, {}),
    "volume": (ScaleIntensityd, {"minv": 0.0, "maxv": 1.0, "channel_wise": True}),
    "percentile": (ScalePercentilesd, {"scope": "volume"}),
    "percentile_slice": (ScalePercentilesd, {"scope": "slice"}),
}
SCORES: dict[str, tuple[type[MapTransform], dict[str, Any]]] = {
    "zscore": (ZScored, {"scope": "volume"}),
    "zscore_slice": (ZScored, {"scope": "slice"}),
    "zscore_nonzero": (ZScored, {"scope": "volume", "nonzero": True}),
}


def intensity(name: str, keys: str = "image", unit: bool = False) -> MapTransform:
    """Transform that scales the intensities of prepared volumes ``(C, X, Y, Z)``, channel by channel.

    =====================  ============================================================================
    ``slice``              minimum and maximum of a slice to [0, 1]
    ``volume``             minimum and maximum of a volume to [0, 1]
    ``percentile``         percentiles 0.5 and 99.5 of a volume to [0, 1], clipped
    ``percentile_slice``   percentiles 0.5 and 99.5 of a slice to [0, 1], clipped
    ``zscore``             mean 0 and standard deviation 1 over a volume
    ``zscore_slice``       mean 0 and standard deviation 1 over a slice
    ``zscore_nonzero``     mean 0 and standard deviation 1 over the voxels of a volume that are not zero
    =====================  ============================================================================

    Constant slices and volumes become 0.

    Args:
        name: one of the names above.
        keys: volumes to scale.
        unit: True refuses z-scores, since a later step needs intensities in [0, 1].

    Raises:
        ValueError: another name, or a z-score where [0, 1] is needed.

    Example:
        >>> type(intensity("slice")).__name__
        'ScaleSlicesd'
    """
    if unit and name in SCORES:
        raise ValueError(
            f"Expected an intensity in [0, 1] ({', '.join(UNIT)}), found {name!r}. A later step of this method needs "
            "[0, 1], such as the CRF, the colour distortion or ImageNet weights. Choose one of these names."
        )
    choices = UNIT | SCORES
    if name not in choices:
        raise ValueError(f"Expected intensity to be one of {', '.join(choices)}, found {name!r}. Choose one of them.")
    kind, arguments = choices[name]
    return kind(keys, **arguments)
