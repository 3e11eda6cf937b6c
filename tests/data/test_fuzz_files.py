"""Damaged files end in a result in the right geometry, or in a DataError that says which file, what, and what to do."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from camtools.data import DataError, load_datalist, read_volume, slice_tags
from tests.damaged_files import (
    SHAPE,
    damaged_lists,
    damaged_nifti,
    damaged_pictures,
    damaged_tables,
    voxels,
    whole_nifti,
)

ADVICE = re.compile(
    r"[Cc]opy|[Ee]xport|[Cc]onvert|[Rr]ename|[Ss]ave|[Gg]et |[Ff]etch|[Ss]plit|[Rr]eplace|[Uu]npack|[Cc]orrect|[Gg]ive"
    r"|[Cc]heck|[Ll]oad|[Nn]ame|[Ww]rite|[Rr]emove|[Kk]eep|[Dd]elete|[Uu]se|[Aa]dd|[Pp]ut|[Dd]ivide|[Ss]et|[Mm]ove|[Cc]ut"
)
RAW = re.compile(r"\w+Error\b|Traceback|zlib|<_io|object at 0x|codec can't|NoneType")


def assert_clear(error: DataError, name: str) -> None:
    message = str(error)
    assert name in message
    assert ADVICE.search(message), f"no advice: {message}"
    assert not RAW.search(message), f"raw: {message}"


@pytest.mark.parametrize("seed", range(3))
def test_damaged_nifti(tmp_path: Path, seed: int) -> None:
    outcomes = {"read": 0, "refused": 0}
    for damaged in damaged_nifti(300, seed):
        path = tmp_path / damaged.name
        path.write_bytes(damaged.content)
        try:
            volume = read_volume(path)
        except DataError as error:
            assert_clear(error, damaged.name)
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert tuple(volume.shape) == (1, *SHAPE)
        assert np.isfinite(volume.numpy()).all()
        affine = np.asarray(volume.affine)
        assert np.isfinite(affine).all()
        if damaged.same:
            np.testing.assert_array_equal(volume[0].numpy(), voxels())
    assert outcomes["refused"] > outcomes["read"] > 0


def test_every_bit_of_a_gzip_stream(tmp_path: Path) -> None:
    """What passes is whole: flags, time and name of the file in the header of gzip change no voxel."""
    path = tmp_path / "a.nii.gz"
    rng, whole = np.random.default_rng(0), gzip.compress(whole_nifti(), mtime=0)
    places = [*range(20), *rng.integers(20, len(whole), 150).tolist(), *range(len(whole) - 8, len(whole))]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            volume = read_volume(path)
        except DataError as error:
            assert_clear(error, "a.nii.gz")
        else:
            assert place < 10
            np.testing.assert_array_equal(volume[0].numpy(), voxels())


@pytest.mark.parametrize("seed", range(2))
def test_damaged_pictures(tmp_path: Path, seed: int) -> None:
    for damaged in damaged_pictures(200, seed):
        path = tmp_path / damaged.name
        path.write_bytes(damaged.content)
        try:
            volume = read_volume(path)
        except DataError as error:
            assert_clear(error, damaged.name)
            continue
        assert volume.shape[0] in (1, 3)
        assert tuple(volume.shape[1:]) == (16, 20, 1)
        assert np.isfinite(volume.numpy()).all()


def test_damaged_lists(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole_nifti()))
    for content in damaged_lists(300):
        (tmp_path / "dataset.json").write_bytes(content)
        for split in ("training", "test"):
            try:
                items = load_datalist(tmp_path, split)
                tags = [slice_tags(item) for item in items if item.get("slice_labels") is not None]
            except DataError as error:
                assert_clear(error, "")
                continue
            assert all(Path(item["image"]).is_file() for item in items)
            assert all(len(each) == SHAPE[2] for each in tags)


def test_damaged_tables(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole_nifti()))
    (tmp_path / "dataset.json").write_text('{"training": [{"image": "a.nii.gz", "slice_labels": "tags.csv"}]}')
    for content in damaged_tables(200):
        (tmp_path / "tags.csv").write_bytes(content)
        try:
            tags = slice_tags(load_datalist(tmp_path, "training")[0])
        except DataError as error:
            assert_clear(error, "")
            continue
        assert len(tags) == SHAPE[2]
        assert set(tags) <= {0, 1}
