"""Reading photographs (PNG, BMP, TIFF) with Pillow: one picture, its values as the file shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monai.data import PILReader
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from camtools.data.errors import DataError, damaged, size_in_words, too_large
from camtools.data.file_kinds import file_kind, not_the_format
from camtools.data.photograph_checks import EXPANSION, check_layout, check_size
from camtools.data.voxels import as_float32

__all__ = ["read_photograph"]

_FORMATS = ("PNG", "BMP", "DIB", "TIFF")
_GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_KINDS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}


def read_photograph(source: Path, numbers: bool = False) -> tuple[NDArray[Any], dict[str, Any]]:
    """Pixels as float32, ``(X, Y)`` or ``(X, Y, 3)``, and MONAI's metadata.

    The picture is turned as its orientation tag says. Colours come through the palette where there is one, and are grey
    values where all of them are; an alpha channel is left out where it hides nothing.

    Args:
        source: file.
        numbers: the pixels are numbers of classes or objects (a mask): those of a palette are taken as they are.

    Raises:
        DataError: another format, a damaged or incomplete file, several pages, transparent pixels, colours other than
            RGB, 16-bit colours, values that float32 cannot hold, or not enough memory.
    """
    # Where another library has switched this on, the missing part of a truncated file would be grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        picture = _opened(source)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(source) from error
    except UnidentifiedImageError as error:
        raise _unknown(source) from error
    except Exception as error:  # Pillow raises SyntaxError, OSError, ValueError, struct.error and more
        raise damaged(source, "its picture is incomplete or corrupt") from error
    picture = _numbered(source, picture) if numbers and picture.mode == "P" else _plain(source, picture)
    array, metadata = PILReader().get_data(picture)
    return as_float32(source, array), metadata


def _opened(source: Path) -> Image.Image:
    # by a handle: given a name, Pillow 13 maps TIFF files into memory and mixes up the sides of those to be turned
    with source.open("rb") as file, Image.open(file) as picture:
        if picture.format not in _FORMATS:
            raise _unknown(source)
        check_size(source, picture)
        check_layout(source, picture)
        if picture.format == "PNG":  # Pillow compares the checksums of the pixels only here
            picture.verify()
    with source.open("rb") as file, Image.open(file) as picture:
        try:
            picture.load()
            return ImageOps.exif_transpose(picture)
        except MemoryError as error:
            raise too_large(source, 4 * len(picture.getbands()) * picture.width * picture.height) from error


def _too_many_pixels(source: Path) -> DataError:
    most, size = 2 * (Image.MAX_IMAGE_PIXELS or 0), source.stat().st_size
    found = f"its header claims more than {most} pixels, but the file has {size_in_words(size)}"
    if most > EXPANSION * size:
        return damaged(source, found)
    return DataError(
        f"{source} has too many pixels: {found}, expected at most {most} (Pillow's limit). Cut it into parts."
    )


def _unknown(source: Path) -> DataError:
    with source.open("rb") as file:
        start = file.read(512)
    kind = _KINDS[source.suffix.lower()]
    if kind in file_kind(start):
        return damaged(source, f"it begins like {file_kind(start)}, but is incomplete, corrupt or of a rare kind")
    return not_the_format(source, start, f"{kind} picture", "Convert it to PNG, or get the original file again.")


def _numbered(source: Path, picture: Image.Image) -> Image.Image:
    """A mask with a palette: the numbers, unless its colours say that the background is another number than 0."""
    used = np.unique(np.asarray(picture)).tolist()
    palette = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
    black = [number for number in used if number < len(palette) and not palette[number].any()]
    if black and 0 in used and 0 not in black:
        raise DataError(
            f"The palette of the mask {source} shows number 0 in colour and number {black[0]} in black: expected 0 as "
            "the background. Save the mask without a palette, 0 for the background and 1 for the object."
        )
    return picture


def _plain(source: Path, picture: Image.Image) -> Image.Image:
    """The picture as grey values or RGB."""
    _check_opaque(source, picture)
    mode = picture.mode
    if mode in _GREY or mode == "RGB":
        return picture
    if mode == "LA":
        return picture.getchannel("L")
    if mode == "RGBA" or mode == "YCbCr":
        return picture.convert("RGB")
    if mode in ("P", "PA"):
        colours = picture.convert("RGB")
        pixels = np.asarray(colours)
        grey = bool((pixels == pixels[..., :1]).all())
        return colours.getchannel("R") if grey else colours
    raise DataError(
        f"{source} is a picture of mode {mode}, expected grey values or RGB. Convert it, for example in Python: "
        f"PIL.Image.open({source.name!r}).convert('RGB').save('rgb.png')"
    )


def _check_opaque(source: Path, picture: Image.Image) -> None:
    if picture.mode in ("LA", "PA", "RGBA") or (picture.mode in ("P", "RGB") and "transparency" in picture.info):
        hidden = np.asarray(picture.convert("RGBA").getchannel("A")) < 255
    elif picture.mode in ("L", "I;16", "I") and isinstance(picture.info.get("transparency"), int):
        hidden = np.asarray(picture) == picture.info["transparency"]
    else:
        return
    if count := int(hidden.sum()):
        raise DataError(
            f"{source} has {count} transparent pixels of {hidden.size}, whose colour is not defined: expected an "
            "opaque picture. Put it onto a background and save it without an alpha channel."
        )
