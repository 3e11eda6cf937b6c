"""The pictures of the contact sheet: one square cell per step of the method, drawn from a panel."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from camtools.report.panels import Panel, to_display

__all__ = [
    "BACKGROUND_COLOUR",
    "CELL",
    "FOREGROUND_COLOUR",
    "colour_scale",
    "draw_cells",
    "draw_outline",
    "frame_cell",
    "map_colours",
    "outline",
    "overlay_map",
    "resize",
    "slice_picture",
    "windowed",
]

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Size = tuple[int, int]

CELL = 256
COLOUR_MAP = "inferno"
MAP_SHARE = 0.6
FOREGROUND_COLOUR = (64, 224, 96)
BACKGROUND_COLOUR = (255, 64, 64)
SEED_RADIUS = 7


def draw_cells(
    panel: Panel, prediction: Mask | None = None, truth: Mask | None = None, photograph: bool = False
) -> dict[str, Image.Image]:
    """Draw every step of one case.

    Args:
        panel: the slice; its intensities are shown from their 0.5th to their 99.5th percentile.
        prediction: ``(X, Y)`` mask on the panel's pixels, outlined in red.
        truth: ``(X, Y)`` mask, outlined in green, with the wider line, so that both show where they agree.
        photograph: see :func:`camtools.report.panels.to_display`.

    Returns:
        Column heading -> ``CELL`` x ``CELL`` RGB image, in the order of the method's steps; steps that the method
        does not have are left out.
    """
    view = {name: to_display(array, photograph) for name, array in panel.arrays.items() if name != "maps"}
    grey = slice_picture(to_display(panel.image, photograph))
    cells = {"Image": grey}
    for layer, values in zip(panel.layers, panel.arrays.get("maps", ()), strict=False):
        cells[f"Map {layer}"] = overlay_map(grey, to_display(values, photograph))
    if "cam" in view:
        cells["Fused map"] = overlay_map(grey, view["cam"])
    if "mask" in view:
        cells["Pseudo-mask"] = draw_outline(grey, view["mask"], BACKGROUND_COLOUR, 3)
    if "foreground_seeds" in view and "background_seeds" in view:
        cells["Seeds"] = _mark_seeds(grey, view["foreground_seeds"], view["background_seeds"])
    if "spl" in view:
        cells["Pseudo-label"] = overlay_map(grey, view["spl"])
    if prediction is not None or truth is not None:
        picture = grey
        for mask, colour, width in ((truth, FOREGROUND_COLOUR, 6), (prediction, BACKGROUND_COLOUR, 3)):
            if mask is not None:
                picture = draw_outline(picture, to_display(mask, photograph), colour, width)
        cells["Prediction"] = picture
    return {heading: frame_cell(picture) for heading, picture in cells.items()}


def colour_scale(steps: int) -> NDArray[np.uint8]:
    """``(steps, 3)`` RGB colours of map values from 0 to 1, as they lie over a black image at full strength."""
    return map_colours(np.linspace(0, 1, steps))


def map_colours(values: Array) -> NDArray[np.uint8]:
    """Map values in [0, 1] as RGB colours, in a last axis."""
    coloured: NDArray[np.uint8] = matplotlib.colormaps[COLOUR_MAP](np.clip(values, 0, 1), bytes=True)[..., :3]
    return coloured


def slice_picture(image: Array) -> Image.Image:
    """Intensities ``(rows, columns)``, or colours ``(rows, columns, 3)``, enlarged to ``CELL`` along the longer side.

    Each channel is shown from its 0.5th to its 99.5th percentile.
    """
    factor = CELL / max(image.shape[:2])
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    channels = [
        resize(windowed(channel), size, Image.Resampling.BICUBIC, 255).convert("L")
        for channel in np.atleast_3d(image).transpose(2, 0, 1)
    ]
    return Image.merge("RGB", channels if len(channels) == 3 else channels * 3)


def windowed(values: Array, limits: tuple[float, float] | None = None) -> Array:
    """Intensities in [0, 1], between limits; None: from their 0.5th to their 99.5th percentile."""
    low, high = np.percentile(values, (0.5, 99.5)) if limits is None else limits
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return np.clip((values - low) / max(high - low, 1e-8), 0, 1)


def resize(values: Array, size: Size, resample: Image.Resampling, scale: float = 1) -> Image.Image:
    """Values ``(rows, columns)`` times ``scale``, resampled to ``size`` (columns, rows), as a picture of floats."""
    return Image.fromarray(values.astype(np.float32) * scale).resize(size, resample)


def overlay_map(grey: Image.Image, values: Array) -> Image.Image:
    """A map in [0, 1] in colour over a picture of the same slice."""
    resized = np.asarray(resize(values, grey.size, Image.Resampling.BILINEAR))
    return Image.blend(grey, Image.fromarray(map_colours(resized)), MAP_SHARE)


def _mark_seeds(grey: Image.Image, foreground: Mask, background: Mask) -> Image.Image:
    """Discs for the foreground and squares for the background, so that the shape tells them apart as well."""
    picture = grey.copy()
    draw = ImageDraw.Draw(picture)
    scale = grey.width / foreground.shape[1]
    for mask, colour, shape in (
        (background, BACKGROUND_COLOUR, draw.rectangle),
        (foreground, FOREGROUND_COLOUR, draw.ellipse),
    ):
        for row, column in np.argwhere(mask):
            x, y = (column + 0.5) * scale, (row + 0.5) * scale
            box = (x - SEED_RADIUS, y - SEED_RADIUS, x + SEED_RADIUS, y + SEED_RADIUS)
            shape(box, fill=colour, outline=(0, 0, 0), width=2)
    return picture


def draw_outline(picture: Image.Image, mask: Mask, colour: tuple[int, int, int], width: int) -> Image.Image:
    """A picture with the rim of a mask of the same slice, ``width`` pixels wide and inside the mask."""
    pixels = np.array(picture)
    pixels[outline(mask, picture.size, width)[1]] = colour
    return Image.fromarray(pixels)


def outline(mask: Mask, size: Size, width: int) -> tuple[Mask, Mask]:
    """A mask with a smooth rim at ``size`` (columns, rows), and that rim, ``width`` pixels wide and inside the mask."""
    smooth = np.asarray(resize(mask, size, Image.Resampling.BILINEAR)) > 0.5
    return smooth, smooth & ~binary_erosion(smooth, iterations=width, border_value=1)


def frame_cell(picture: Image.Image) -> Image.Image:
    """A picture in the middle of a square cell."""
    framed = Image.new("RGB", (CELL, CELL))
    framed.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return framed
