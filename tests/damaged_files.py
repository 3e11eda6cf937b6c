"""Damaged files from a seed, for tests and a benchmark: NIfTI headers, gzip streams, pictures, dataset.json, CSVs."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (12, 14, 5)
AFFINE = np.array([[-1.0, 0.1, 0, 20], [0.1, 1.0, 0, -7], [0, 0, 4.0, 31], [0, 0, 0, 1]])
# the fields of a NIfTI-1 header that say what the voxels are, and values that damage or change them
FIELDS = (
    ("<i", 0, (0, 347, 540, -1)),
    ("<h", 40, (0, -1, 2, 4, 5, 8, 300)),
    ("<h", 42, (0, -12, 6, 13, 24, 32767)),
    ("<h", 46, (0, -5, 4, 6, 10, 30000)),
    ("<h", 70, (0, 1, 2, 8, 16, 32, 128, 512, 1792, 2304, 9999)),
    ("<h", 72, (0, 8, 15, 32, -16)),
    ("<f", 108, (0.0, -352.0, 351.0, 353.5, 368.0, 1e9, np.nan, np.inf)),
    ("<f", 112, (0.0, np.nan, np.inf, -np.inf, 1e38, 1e-38)),
    ("<f", 116, (np.nan, np.inf, 1e38)),
    ("<h", 252, (-1, 6, 999)),
    ("<h", 254, (-1, 6, 999)),
    ("<f", 280, (np.nan, np.inf)),
    ("<4s", 344, (b"ni1\0", b"n+3\0", b"\0\0\0\0", b"abcd")),
    ("<4B", 348, (1, 255)),
)
OTHERS = (
    b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(600),
    b"<!DOCTYPE html><html><body>404</body></html>",
    bytes(128) + b"DICM" + bytes(600),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b"../../.git/annex/objects/a/b.nii.gz",
    b"hello",
    bytes(2000),
    b"PK\x03\x04" + bytes(100),
)


@dataclass(frozen=True)
class Damaged:
    """A file: its name, its content, and whether voxels read from it must equal the undamaged ones."""

    name: str
    content: bytes
    same: bool = True


def voxels() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 900, SHAPE).astype(np.int16)


def whole_nifti() -> bytes:
    return bytes(nib.Nifti1Image(voxels(), AFFINE).to_bytes())


def whole_picture(kind: str) -> bytes:
    pixels = np.random.default_rng(8).integers(0, 255, (20, 16, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def flipped(content: bytes, rng: np.random.Generator, start: int = 0, stop: int | None = None) -> bytes:
    """One to three bits flipped."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(start, stop or len(data)))
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def damaged_nifti(count: int, seed: int = 0) -> Iterator[Damaged]:
    """Half of them compressed; the header, the stream or the length is damaged, or it is another kind of file."""
    rng, whole = np.random.default_rng(seed), whole_nifti()
    for index in range(count):
        packed, kind = index % 2 == 0, int(rng.integers(7))
        name = f"{index:04}.nii.gz" if packed else f"{index:04}.nii"
        content, same = whole, True
        if kind == 0:
            layout, place, values = FIELDS[int(rng.integers(len(FIELDS)))]
            data, value = bytearray(whole), values[int(rng.integers(len(values)))]
            parts = (value,) * 4 if layout == "<4B" else (value,)
            struct.pack_into(layout, data, place, *parts)
            content, same = bytes(data), place not in (70, 112, 116)
        elif kind == 1:
            content, same = flipped(whole, rng, 0, 352), False
        elif kind == 2:
            data = bytearray(whole)
            struct.pack_into("<4h", data, 40, 3, *(int(size) for size in rng.integers(2, 32767, 3)))
            content = bytes(data)
        elif kind == 3:
            content = whole[: int(rng.integers(1, len(whole)))]
        elif kind == 4:
            content = whole + bytes(rng.integers(1, 256, int(rng.integers(1, 99))).astype(np.uint8))
        if not packed:
            yield Damaged(name, OTHERS[index % len(OTHERS)] if kind >= 5 else content, same)
            continue
        stream = gzip.compress(content, 6, mtime=0)
        if kind == 5:
            stream = flipped(stream, rng)
        elif kind == 6:
            last = (stream[: int(rng.integers(1, len(stream)))], gzip.compress(stream), stream + b"junk", whole)
            stream = (*last, *OTHERS)[int(rng.integers(4 + len(OTHERS)))]
        yield Damaged(name, stream, same)


def damaged_pictures(count: int, seed: int = 0) -> Iterator[Damaged]:
    """PNG and BMP in turn: bits flipped (of BMP, whose pixels carry no checksum, in the header), cut, or others."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        kind = ("PNG", "BMP")[index % 2]
        whole, damage = whole_picture(kind), int(rng.integers(4))
        content = whole[: int(rng.integers(1, len(whole)))]
        if damage == 0:
            content = flipped(whole, rng, 0, len(whole) if kind == "PNG" else 54)
        elif damage == 1:
            content = OTHERS[int(rng.integers(len(OTHERS)))]
        elif damage == 2 and kind == "BMP":
            content = whole + bytes(50)
        yield Damaged(f"{index:04}.{kind.lower()}", content, kind == "PNG")


def damaged_lists(count: int, seed: int = 0) -> Iterator[bytes]:
    """Contents of dataset.json: bits flipped, cut, or values of other types."""
    rng = np.random.default_rng(seed)
    odd = (
        None,
        7,
        True,
        [],
        {},
        "",
        "gone.nii.gz",
        ["a.nii.gz"],
        {"image": 3},
        [None],
        [[0]],
        "../x.nii.gz",
        [0.5],
        "0",
    )
    for index in range(count):
        item = {"image": "a.nii.gz", "slice_labels": [0, 1, 0, 0, 1]}
        content = {"labels": {"0": "background"}, "training": [item], "test": ["a.nii.gz"]}
        text = json.dumps(content).encode()
        value = odd[int(rng.integers(len(odd)))]
        if index % 4 == 0:
            yield flipped(text, rng)
        elif index % 4 == 1:
            yield text[: int(rng.integers(len(text)))]
        elif index % 4 == 2:
            yield json.dumps(content | {"training": [item | {str(rng.choice(list(item))): value}]}).encode()
        else:
            yield json.dumps(content | {str(rng.choice(["training", "test"])): value}).encode()


def damaged_tables(count: int, seed: int = 0) -> Iterator[bytes]:
    """Contents of a CSV of slice tags: bits flipped, cut, rows repeated, cells replaced."""
    rng = np.random.default_rng(seed)
    cells = ("", "x", "-1", "99", "1.5", "nan", "2", '"', "a.nii.gz", "1e9", "\0")
    for index in range(count):
        rows = [["a.nii.gz", str(k), str(k % 2)] for k in range(SHAPE[2])]
        row = rows[int(rng.integers(len(rows)))]
        if index % 3 == 0:
            row[int(rng.integers(3))] = cells[int(rng.integers(len(cells)))]
        elif index % 3 == 1:
            rows.append([row[0], row[1], str(1 - int(row[2]))])
        text = "\n".join(",".join(row) for row in [["image", "slice", "label"], *rows]).encode()
        if index % 3 == 2:
            text = flipped(text, rng)[: int(rng.integers(len(text) // 2, len(text) + 1))]
        yield text
