"""Reading photographs (PNG, BMP, TIFF) with Pillow: one picture, with the values that viewers show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monai.data import PILReader
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from camtools.data.errors import DataError, damaged, size_in_words, too_large
from camtools.data.file_kinds import file_kind, not_the_format
from camtools.data.voxels import as_float32

__all__ = ["read_photograph"]

_FORMATS = ("PNG", "BMP", "DIB", "TIFF")
_GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_KINDS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
EXPANSION = 10_000  # more pixels per byte than PNG, LZW and run lengths reach
_COMPRESSIONS = (None, "raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
_BMP_V5 = 124  # size of the only BMP header that allows a colour profile after the pixels
_SAMPLES, _SAMPLE_FORMAT, _BITS, _PHOTOMETRIC = 277, 339, 258, 262  # tags of TIFF


def read_photograph(source: Path, numbers: bool = False) -> tuple[NDArray[Any], dict[str, Any]]:
    """Pixels as float32, ``(X, Y)`` or ``(X, Y, 3)``, and MONAI's metadata.

    The picture is turned as its orientation tag says. A palette is replaced by its colours, or by one channel where all
    of them are grey. An alpha channel is dropped where every pixel is opaque.

    Args:
        source: the file.
        numbers: the pixels are numbers of classes or objects (a mask): numbers of a palette are read unchanged.

    Raises:
        DataError: another format, a damaged or incomplete file, several pages, transparent pixels, colours other than
            RGB, 16-bit colours, values that float32 cannot hold, or too little memory.
    """
    # Another library may have switched this on: the missing part of a truncated file would then be grey.
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
    # Not by name: Pillow 13 then maps TIFF files into memory and swaps the sides of pictures that it turns.
    with source.open("rb") as file, Image.open(file) as picture:
        if picture.format not in _FORMATS:
            raise _unknown(source)
        _check_size(source, picture)
        _check_layout(source, picture)
        if picture.format == "PNG":  # only here does Pillow compare the checksums
            picture.verify()
    with source.open("rb") as file, Image.open(file) as picture:
        try:
            picture.load()
            return ImageOps.exif_transpose(picture)
        except MemoryError as error:
            raise too_large(source, 4 * len(picture.getbands()) * picture.width * picture.height) from error


def _check_size(source: Path, picture: ImageFile.ImageFile) -> None:
    """Refuse more pixels than the file can hold, before memory is allocated, and a BMP of a wrong length."""
    size = source.stat().st_size
    pixels = len(picture.getbands()) * picture.width * picture.height
    found = f"its header claims {picture.width} x {picture.height} pixels, but the file has {size_in_words(size)}"
    if picture.mode != "1" and picture.info.get("compression") in _COMPRESSIONS and pixels > EXPANSION * size:
        raise damaged(source, found)
    if picture.format == "BMP" and picture.tile and picture.tile[0][0] == "raw":
        _, _, offset, parameters = picture.tile[0]
        expected = offset + int(parameters[1]) * picture.height  # type: ignore[index]
        with source.open("rb") as file:
            header_size = int.from_bytes(file.read(18)[14:18], "little")
        # some writers append two bytes, and pad to four
        if expected > size or (size - expected > 4 and header_size != _BMP_V5):
            raise damaged(source, f"{found}, expected {size_in_words(expected)}")


def _check_layout(source: Path, picture: ImageFile.ImageFile) -> None:
    """Refuse what Pillow would ignore or read wrongly without a warning."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise DataError(
            f"Expected one picture, found {pages} pages or frames in {source}. Save each as a separate file; if they "
            "are the slices of a volume, save the volume as .nii.gz with its spacing."
        )
    if picture.format in ("PNG", "TIFF") and len(picture.getbands()) > 1 and ";16" in str(picture.tile):
        raise DataError(
            f"Expected 8 bits per channel, found 16-bit colours in {source}, of which Pillow reads 8 bits. Save it "
            "with 8 bits, or save one channel as a 16-bit grey picture."
        )
    if picture.format == "TIFF":
        _check_tags(source, picture)


def _check_tags(source: Path, picture: ImageFile.ImageFile) -> None:
    tags = picture.tag_v2  # type: ignore[attr-defined]
    channels, known = int(tags.get(_SAMPLES, 1)), len(picture.getbands())
    if channels != known:
        raise DataError(
            f"Expected grey values or RGB, found {channels} channels in {source} ({known} of them grey or RGB). Save "
            "each channel as a separate file."
        )
    kind, bits = int(tags.get(_SAMPLE_FORMAT, (1,))[0]), int(tags.get(_BITS, (1,))[0])
    if (kind == 2 and bits == 8) or (kind == 1 and bits == 32):
        signed = "signed 8-bit" if kind == 2 else "unsigned 32-bit"
        raise DataError(
            f"Expected unsigned 8- or 16-bit, signed 32-bit or float numbers, found {signed} numbers in {source}, "
            "which Pillow reads wrongly. Save it as float32."
        )
    if int(tags.get(_PHOTOMETRIC, 1)) == 0 and bits > 8:
        raise DataError(
            f"Expected 0 as black, found 0 as white with {bits} bits in {source}, which Pillow does not invert. Invert "
            "the values and save it with 0 as black."
        )


def _too_many_pixels(source: Path) -> DataError:
    most, size = 2 * (Image.MAX_IMAGE_PIXELS or 0), source.stat().st_size
    found = f"its header claims more than {most} pixels, but the file has {size_in_words(size)}"
    if most > EXPANSION * size:
        return damaged(source, found)
    return DataError(
        f"Expected at most {most} pixels (Pillow's limit), found a header that claims more in {source}. Cut the "
        "picture into parts."
    )


def _unknown(source: Path) -> DataError:
    with source.open("rb") as file:
        start = file.read(512)
    kind = _KINDS[source.suffix.lower()]
    if kind in file_kind(start):
        return damaged(source, f"it begins like {file_kind(start)}, but is incomplete, corrupt or of a rare kind")
    return not_the_format(source, start, f"{kind} picture", "Convert it to PNG, or get the original file again.")


def _numbered(source: Path, picture: Image.Image) -> Image.Image:
    """Numbers of a mask with a palette; refused where its colours show a number other than 0 as the background."""
    used = np.unique(np.asarray(picture)).tolist()
    palette = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
    black = [number for number in used if number < len(palette) and not palette[number].any()]
    if black and 0 in used and 0 not in black:
        raise DataError(
            f"Expected a palette that shows the background, number 0, in black, found number 0 in colour and number "
            f"{black[0]} in black in {source}. Save the mask without a palette, 0 for the background and 1 for the "
            "object."
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
        f"Expected grey values or RGB, found the mode {mode} in {source}. Convert it, for example in Python: "
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
            f"Expected an opaque picture, found {count} transparent pixels of {hidden.size} in {source}: their colour "
            "is not defined. Put it on a background and save it without an alpha channel."
        )
