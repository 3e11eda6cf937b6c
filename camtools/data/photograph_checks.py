"""What a picture's header tells before its pixels are read: pages, channels, and sizes that contradict the file."""

from __future__ import annotations

from pathlib import Path

from PIL import ImageFile

from camtools.data.errors import DataError, damaged, size_in_words

__all__ = ["EXPANSION", "check_layout", "check_size"]

EXPANSION = 10_000  # beyond what PNG, LZW and run lengths reach, with several pixels in a byte
_COMPRESSIONS = (None, "raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
_BMP_V5 = 124  # bytes of the one header that lets a colour profile follow the pixels
_SAMPLES, _SAMPLE_FORMAT, _BITS, _PHOTOMETRIC = 277, 339, 258, 262  # tags of TIFF


def check_size(source: Path, picture: ImageFile.ImageFile) -> None:
    """Stop before memory is taken for pixels that the file cannot hold.

    Raises:
        DataError: the header claims more pixels than the file has bytes for; a BMP with fewer or more bytes than its
            pixels take.
    """
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


def check_layout(source: Path, picture: ImageFile.ImageFile) -> None:
    """Stop at what Pillow would pass over in silence.

    Raises:
        DataError: several pages or frames, 16-bit colours, channels that are neither colour nor alpha, or whole numbers
            that Pillow reads as others.
    """
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise DataError(
            f"{source} holds {pages} pages or frames: expected one picture. Save each as a file of its own; if they "
            "are the slices of a volume, save that as .nii.gz with its spacing."
        )
    if picture.format in ("PNG", "TIFF") and len(picture.getbands()) > 1 and ";16" in str(picture.tile):
        raise DataError(
            f"{source} holds 16-bit colours, of which Pillow reads 8 bits: expected 8 bits a channel. Save it so, or "
            "save one channel as a 16-bit grey picture."
        )
    if picture.format == "TIFF":
        _check_tags(source, picture)


def _check_tags(source: Path, picture: ImageFile.ImageFile) -> None:
    tags = picture.tag_v2  # type: ignore[attr-defined]
    channels, known = int(tags.get(_SAMPLES, 1)), len(picture.getbands())
    if channels != known:
        raise DataError(
            f"{source} holds {channels} channels, expected grey values or RGB (found {known} of this kind). Save each "
            "channel as a file of its own."
        )
    kind, bits = int(tags.get(_SAMPLE_FORMAT, (1,))[0]), int(tags.get(_BITS, (1,))[0])
    if (kind == 2 and bits == 8) or (kind == 1 and bits == 32):
        signed = "signed 8-bit" if kind == 2 else "unsigned 32-bit"
        raise DataError(
            f"{source} holds {signed} numbers, which Pillow reads as others: expected unsigned 8- or 16-bit, signed "
            "32-bit or float numbers. Save it as float32."
        )
    if int(tags.get(_PHOTOMETRIC, 1)) == 0 and bits > 8:
        raise DataError(
            f"{source} shows 0 as white with {bits} bits, which Pillow does not turn round: expected 0 as black. "
            "Invert it and save it so."
        )
