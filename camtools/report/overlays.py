"""Pictures of the viewer: an opaque image per slice, and each layer as a small picture with transparent colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camtools.report.case_slices import CaseSlices
from camtools.report.cells import BACKGROUND_COLOUR, FOREGROUND_COLOUR, draw_outline, map_colours, outline, resize

__all__ = ["COLOURS", "draw_layer", "draw_slice", "draw_thumbnail"]

Array = NDArray[Any]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "pseudo_label": (64, 208, 255),
    "prediction": BACKGROUND_COLOUR,
    "truth": FOREGROUND_COLOUR,
}
RIMS = {"pseudo_label": 3, "prediction": 3, "truth": 5}  # the wider one below, so that both show where they agree
FILLS = {"pseudo_label": 55, "prediction": 55, "truth": 0}  # of 255: nothing hides what lies inside the truth
LEVELS = 32
FULL = 0.6  # map value from which on its colour hides the image


def draw_slice(view: CaseSlices, position: int) -> Image.Image:
    """One slice of the image, grey or in colour, at its own size or, in a volume, at most half the page's.

    The page enlarges it, which costs no bytes.
    """
    values = view.images[position]
    most = view.size if view.total == 1 else _half(view.size)
    size = (min(values.shape[1], most[0]), min(values.shape[0], most[1]))
    channels = values.transpose(2, 0, 1) if values.ndim == 3 else values[None]
    pictures = [resize(channel, size, Image.Resampling.BICUBIC, 255).convert("L") for channel in channels]
    return Image.merge("RGB", pictures) if len(pictures) == 3 else pictures[0]


def draw_layer(view: CaseSlices, key: str, position: int) -> Image.Image | None:
    """One slice of a layer, with a palette of transparent colours; None where there is nothing to see.

    Maps, and pseudo-labels that are probabilities, are the more opaque the higher their value (at half the size,
    since they are smooth); masks are outlined and, but for the truth, lightly filled.
    """
    values = view.layers[key][position]
    if not values.any():
        return None
    if key == "map":
        return _draw_values(values, view.size, map_colours(np.linspace(0, 1, LEVELS)))
    if np.isin(values, (0, 1)).all():
        inside, rim = outline(values > 0.5, view.size, RIMS[key])
        return _with_palette(inside.astype(np.uint8) + rim, np.array([COLOURS[key]] * 3), bytes((0, FILLS[key], 255)))
    return _draw_values(values, view.size, np.array([COLOURS[key]] * LEVELS))


def draw_thumbnail(view: CaseSlices) -> Image.Image:
    """The slice with the largest object, with the outlines of truth and prediction."""
    picture = draw_slice(view, view.start).convert("RGB").resize(_half(view.size), Image.Resampling.BICUBIC)
    for key in ("truth", "prediction"):
        if key in view.layers:
            mask = view.layers[key][view.start] > 0.5
            picture = draw_outline(picture, mask, COLOURS[key], RIMS[key])
    return picture


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _draw_values(values: Array, size: tuple[int, int], colours: Array) -> Image.Image:
    smooth = np.asarray(resize(values, _half(size), Image.Resampling.BILINEAR))
    levels = (smooth * (LEVELS - 1)).round().astype(np.uint8)
    opacity = np.clip(np.arange(LEVELS) / (LEVELS - 1) / FULL, 0, 1)
    return _with_palette(levels, colours, bytes((255 * opacity).round().astype(np.uint8)))


def _with_palette(indices: Array, colours: Array, alpha: bytes) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8)).convert("L")
    picture.putpalette(colours.astype(np.uint8).tobytes())
    picture.info["transparency"] = alpha
    return picture
