"""Photographs (camtools.data.photographs): the values that the file shows, or a refusal that says what it holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from camtools.data import DataError, Splits, read_volume
from camtools.data.photographs import read_photograph
from camtools.data.volumes import read_mask
from camtools.engine import DatasetCheck
from camtools.transforms import LoadVolumed

GREY = np.random.default_rng(0).integers(0, 255, (6, 8)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 255, (6, 8, 3)).astype(np.uint8)


def palette_picture(colours: list[int], mode: str = "P") -> Image.Image:
    picture = Image.fromarray(GREY % 3, mode="L")
    picture = Image.frombytes(mode, (8, 6), picture.tobytes())
    picture.putpalette(colours)
    return picture


def pixels(path: Path) -> np.ndarray:
    """``(rows, columns)`` or ``(rows, columns, 3)``."""
    return read_volume(path)[..., 0].numpy().transpose(2, 1, 0).squeeze()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_values_of_every_format(tmp_path: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), array)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.png", GREY.astype(np.uint16) * 257),
        ("a.tif", GREY.astype(np.uint16) * 257),
        ("a.tif", GREY.astype(np.int32) * -5000),
        ("a.tif", GREY.astype(np.float32) / 7),
        ("a.png", GREY > 100),
        ("a.tif", GREY > 100),
    ],
)
def test_deep_and_shallow_pixels(tmp_path: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), array.astype(np.float32))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_palette_gives_its_colours(tmp_path: Path, name: str) -> None:
    colours = np.array([[0, 0, 0], [200, 10, 30], [5, 250, 90]], np.uint8)
    palette_picture(colours.ravel().tolist()).save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), colours[GREY % 3])
    greys = np.array([3, 77, 140], np.uint8)
    palette_picture(greys.repeat(3).tolist()).save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), greys[GREY % 3])


def test_palette_of_a_mask_gives_its_numbers(tmp_path: Path) -> None:
    palette_picture([0, 0, 0, 128, 0, 0, 0, 128, 0]).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png")[0, ..., 0].numpy().T, GREY % 3)
    palette_picture([255, 255, 255, 0, 0, 0, 0, 128, 0]).save(tmp_path / "n.png")
    with pytest.raises(DataError, match=r"Expected a palette .* 0 in colour and number 1 in black in .*n.png"):
        read_mask(tmp_path / "n.png")


def test_masks_in_colour(tmp_path: Path) -> None:
    mask = (GREY > 100).astype(np.uint8) * 255
    Image.fromarray(mask).convert("RGB").save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png")[0, ..., 0].numpy().T, mask)
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"mask of one channel.*found 3 channels that differ in .*colour.png"):
        read_mask(tmp_path / "colour.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("mode", "array"), [("LA", GREY), ("RGBA", COLOUR)])
def test_alpha_channel(tmp_path: Path, name: str, mode: str, array: np.ndarray) -> None:
    picture = Image.fromarray(array).convert(mode)
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), array)
    alpha = np.full((6, 8), 255, np.uint8)
    alpha[0, :5] = 40
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / name)
    with pytest.raises(DataError, match=rf"opaque picture, found 5 transparent pixels of 48 in .*{name}.*Put it"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_colour(tmp_path: Path, mode: str) -> None:
    array = np.zeros((6, 8), np.uint8)
    array[2, 3] = 9
    picture = Image.fromarray(array).convert(mode)
    picture.save(tmp_path / "a.png", transparency={"L": 9, "RGB": (9, 9, 9), "P": 9}[mode])
    with pytest.raises(DataError, match=r"found 1 transparent pixels of 48 in .*a.png"):
        read_volume(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("tag", "turn"), [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))])
def test_orientation_tag(tmp_path: Path, name: str, tag: int, turn: Callable[[np.ndarray], np.ndarray]) -> None:
    picture = Image.fromarray(GREY)
    exif = picture.getexif()
    exif[0x0112] = tag
    picture.save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / name), turn(GREY))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pages_and_frames_are_refused(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(GREY + k) for k in range(4)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"one picture, found 4 pages or frames in .*{name}. Save each as a"):
        read_volume(tmp_path / name)


def png(bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG of 2 x 1 pixels, written by hand: Pillow writes no 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "a.png",
            lambda path: path.write_bytes(png(16, 2, bytes(12))),
            r"8 bits per channel, found 16-bit colours",
        ),
        (
            "a.tif",
            lambda path: Image.new("CMYK", (8, 6)).save(path),
            r"grey values or RGB, found the mode CMYK",
        ),
        ("a.tif", lambda path: Image.new("LAB", (8, 6)).save(path), r"grey values or RGB, found the mode LAB"),
        ("a.png", lambda path: Image.fromarray(GREY).save(path, "JPEG"), r"Expected PNG picture.*found a JPEG picture"),
        ("a.bmp", lambda path: Image.fromarray(GREY).save(path, "GIF"), r"Expected BMP picture.*found a GIF picture"),
        ("a.png", lambda path: path.write_bytes(b"hello"), r"Expected PNG picture data, found a text file in .*a.png"),
        (
            "a.png",
            lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\nxx"),
            r"it begins like a PNG picture, but|incomplete",
        ),
    ],
)
def test_other_pictures_are_refused(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_volume(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "bmp", "tif"])
def test_truncated_pictures_are_refused_whatever_pillow_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"whole.{kind}")
    whole = (tmp_path / f"whole.{kind}").read_bytes()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for part in (len(whole) - 20, len(whole) // 2, 60):
        (tmp_path / f"part.{kind}").write_bytes(whole[:part])
        with pytest.raises(DataError, match=rf"part.{kind} cannot be read \(.*\). The file is truncated or damaged"):
            read_volume(tmp_path / f"part.{kind}")


def test_checksum_of_pixels(tmp_path: Path) -> None:
    data = bytearray(png(8, 0, b"\1\2"))
    data[-17] ^= 1  # of the checksum behind the pixels
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a.png cannot be read \(its picture is incomplete or corrupt\)"):
        read_volume(tmp_path / "a.png")


def test_bmp_of_another_size_than_it_claims(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.bmp")
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    struct.pack_into("<i", data, 22, 4)
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(DataError, match=r"claims 8 x 4 pixels, but the file has 198 bytes, expected 150 bytes"):
        read_volume(tmp_path / "a.bmp")


def test_more_pixels_than_the_file_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, compression="tiff_adobe_deflate")
    monkeypatch.setattr("camtools.data.photographs.EXPANSION", 0)
    with pytest.raises(DataError, match=r"its header claims 8 x 6 pixels, but the file has"):
        read_volume(path)
    monkeypatch.setattr("camtools.data.photographs.EXPANSION", 10_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(DataError, match=r"Expected at most 8 pixels .*found a header .*a.tif. Cut the picture"):
        read_photograph(path)


def test_number_of_channels(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    colour, grey = {"image": str(tmp_path / "colour.png")}, {"image": str(tmp_path / "grey.png")}
    assert LoadVolumed("image", channels=3)(colour)["image"].shape[0] == 3
    with pytest.raises(
        DataError, match=r"Expected 1 channel \(grey values\).*found 3 \(colour\) in .*colour.png.*convert\('L'\)"
    ):
        LoadVolumed("image", channels=1)(colour)
    with pytest.raises(
        DataError, match=r"Expected 3 channels \(colour\).*found 1 \(grey values\) in .*grey.png.*in_channels 1"
    ):
        LoadVolumed("image", channels=3)(grey)
    items = [item | {"slice_labels": [k]} for k, item in enumerate((colour, grey))]
    with pytest.raises(DataError, match=r"1 of 2 volumes cannot be used:\n  .*found 3 \(colour\) in .*colour.png"):
        DatasetCheck(Splits(items), tmp_path / "run", channels=1).run()
    DatasetCheck(Splits(items), tmp_path / "run").run()
