"""Voxels and their headers: the right value, or a refusal that says what the file holds and what helps."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from camtools.data import DataError, read_volume, slice_tags
from camtools.data.errors import size_in_words
from camtools.data.file_kinds import file_kind
from camtools.data.volumes import read_mask
from tests.conftest import write_volume
from tests.damaged_files import AFFINE, voxels, whole_nifti


def patched(path: Path, layout: str, place: int, *values: object) -> Path:
    data = bytearray(whole_nifti())
    struct.pack_into(layout, data, place, *values)
    path.write_bytes(gzip.compress(bytes(data)) if path.name.endswith(".gz") else bytes(data))
    return path


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "<i2", ">i2", "u2", "<i4", ">i4", "u4", "i8", "u8", "<f4", ">f4", "<f8", ">f8"]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_every_type_of_voxel(tmp_path: Path, dtype: str, name: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(array.dtype)
    nib.save(nib.Nifti1Image(array, AFFINE, header, dtype=array.dtype), tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume[0].numpy(), np.arange(60).reshape(3, 4, 5))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_nifti_2_and_axes_of_length_one(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nib.save(nib.Nifti2Image(array, AFFINE), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii.gz")[0].numpy(), array)
    for axes in (1, 2, 3):
        path = write_volume(tmp_path / f"{axes}.nii", array.reshape(array.shape + (1,) * axes), AFFINE)
        assert read_volume(path).shape == (1, 3, 4, 5)


@pytest.mark.parametrize(("slope", "inter"), [(2.0, -1000.0), (-0.5, 3.0), (0.001, 0.0), (0.0, 7.0), (0.0, np.nan)])
def test_scaling_of_the_header(tmp_path: Path, slope: float, inter: float) -> None:
    volume = read_volume(patched(tmp_path / "a.nii.gz", "<2f", 112, slope, inter))
    factor, offset = (np.float32(slope), inter) if slope else (1.0, 0.0)
    np.testing.assert_allclose(volume[0], voxels() * np.float64(factor) + offset, rtol=1e-6)


@pytest.mark.parametrize(
    ("layout", "place", "values", "message"),
    [
        ("<2f", 112, (np.nan, 0), r"Expected a finite factor.*, found scl_slope = nan in"),
        ("<2f", 112, (np.inf, 0), r"scl_slope = inf"),
        ("<2f", 112, (1e30, 0), r"scl_slope = 1e\+30"),
        ("<2f", 112, (1, np.inf), r"Expected a finite offset.*found scl_inter = inf"),
        ("<h", 72, (8,), r"Expected bitpix = 16, found bitpix = 8 with datatype = 4"),
        ("<h", 70, (9999,), r"Expected a type of real numbers.*found datatype = 9999"),
        ("<h", 70, (1536,), r"datatype = 1536"),
        ("<h", 70, (1,), r"Expected a type of real numbers.*found datatype = 1"),
        ("<h", 40, (9,), r"Expected 1 to 7, found dim\[0\] = 9 axes"),
        ("<h", 42, (-12,), r"Expected positive lengths, found dim = \(-12, 14, 5\)"),
        ("<h", 42, (0,), r"Expected a volume, found no voxels \(shape \(0, 14, 5\)\)"),
        ("<h", 42, (6,), r"more bytes follow .* so its header does not fit its content"),
        ("<h", 46, (6,), r"it ends after 1.7 kB of voxels, expected 2.0 kB|header claims 2.4 kB"),
        ("<f", 108, (np.nan,), r"Expected a whole number of bytes from 352, found vox_offset = nan"),
        ("<f", 108, (-352,), r"vox_offset = -352"),
        ("<f", 108, (353.5,), r"vox_offset = 353.5"),
        ("<f", 108, (1e9,), r"its header claims 1.0 GB, shape \(12, 14, 5\) of int16, but the file has"),
        ("<f", 108, (368,), r"cannot be read \(it"),
        ("<h", 254, (77,), r"Expected 0 to 5, found sform_code = 77"),
        ("<4s", 344, (b"ni1\0",), r"its voxels are in another file \(.img\)"),
        ("<4s", 344, (b"\0\0\0\0",), r"Expected NIfTI, found a header of Analyze 7.5"),
        ("<4s", 344, (b"n+7\0",), r"magic = b'n\+7"),
        ("<i", 0, (347,), r"Expected 348 or 540, found sizeof_hdr = 347"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_header_that_contradicts_itself(
    tmp_path: Path, name: str, layout: str, place: int, values: tuple[object, ...], message: str
) -> None:
    with pytest.raises(DataError, match=rf"(?s)(?=.*{name})(?:.*)({message})"):
        read_volume(patched(tmp_path / name, layout, place, *values))


def test_extension_that_reaches_into_the_voxels(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 50))
    data = bytearray(image.to_bytes())
    (tmp_path / "a.nii").write_bytes(data)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii")[0].numpy(), voxels())
    struct.pack_into("<i", data, 352, 4096)
    (tmp_path / "b.nii").write_bytes(data)
    with pytest.raises(DataError, match=r"b.nii cannot be read \(an extension of its header claims 4096 bytes, but 64"):
        read_volume(tmp_path / "b.nii")


@pytest.mark.parametrize(("dtype", "result"), [("complex64", "magnitude.nii.gz"), ("rgb", "grey.nii.gz")])
def test_advice_for_other_voxels_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, result: str
) -> None:
    array = np.full((3, 4, 5), 3 - 4j, "complex64")
    if dtype == "rgb":
        array = np.full((3, 4, 5), 5, np.uint8).repeat(3).view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(
        DataError,
        match=r"Expected .*, found (complex|colour) voxels \(.*\) in .*a.nii.gz.*in Python: ",
    ) as caught:
        read_volume(tmp_path / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).partition("in Python: ")[2], {"nibabel": nib, "numpy": np})
    np.testing.assert_allclose(read_volume(result)[0], 5)


def test_rgba_and_several_volumes_are_named(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"found colour voxels \(RGBA\) in .*a.nii"):
        read_volume(tmp_path / "a.nii")
    path = write_volume(tmp_path / "v.nii", np.zeros((3, 4, 1, 1, 3), np.int16))
    with pytest.raises(DataError, match=r"one 3D volume .*found 5D data of shape \(3, 4, 1, 1, 3\) in .*v.nii"):
        read_volume(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.array([0, 2**24 + 1], np.int32),
            r"whole numbers that float32 can hold.*found int32 from 0 to 16777217",
        ),
        (np.array([0, 2**53 + 1], np.int64), r"found int64 from 0"),
        (np.array([0, 2**64 - 1], np.uint64), r"found uint64 from 0"),
        (np.array([0, 1e300]), r"Expected values within the range of float32.*found 1e\+300 .*Divide"),
        (
            np.array([1e9, 1e9 + 9]),
            r"range of values that float32 can resolve, found 1000000000 to 1000000009.*offset",
        ),
    ],
)
def test_what_float32_cannot_hold(tmp_path: Path, array: np.ndarray, message: str) -> None:
    nib.save(nib.Nifti1Image(array.reshape(2, 1, 1), AFFINE, dtype=array.dtype), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=rf"(?=.*a.nii.gz).*{message}"):
        read_volume(tmp_path / "a.nii.gz")


def test_large_numbers_that_float32_can_hold(tmp_path: Path) -> None:
    array = np.array([0, 2**24 + 2, -(2**40)], np.int64).reshape(3, 1, 1)
    nib.save(nib.Nifti1Image(array, AFFINE, dtype=np.int64), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii")[0].numpy(), array)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.nii.gz",
            lambda whole: whole,
            r"Expected gzip-compressed NIfTI.*found an uncompressed NIfTI.*Rename it to a.nii",
        ),
        (
            "a.nii",
            gzip.compress,
            r"Expected uncompressed NIfTI.*found gzip-comp.*Rename it to a.nii.gz",
        ),
        ("a.nii.gz", lambda whole: gzip.compress(gzip.compress(whole)), r"compressed twice. Unpack it once"),
        (
            "a.nii.gz",
            lambda _: b"\xff\xd8\xff" + bytes(999),
            r"found a JPEG picture in .*. Convert it, or get the",
        ),
        ("a.nii.gz", lambda _: gzip.compress(b"<html>404" + bytes(999)), r"Expected NIfTI.*found a web page"),
        ("a.nii", lambda _: bytes(128) + b"DICM" + bytes(999), r"found a DICOM file"),
        ("a.nii.gz", lambda _: b"version https://git-lfs.github.com", r"pointer of Git LFS.*git lfs pull"),
        ("a.nii.gz", lambda _: b"/annex/objects/MD5", r"pointer of git-annex.*git annex get"),
        ("a.nii", lambda _: b"../../.git/annex/objects/x/y", r"pointer of git-annex.*git annex get"),
        (
            "a.nii.gz",
            lambda whole: gzip.compress(whole)[:-9],
            r"compressed data end too early\). The file is truncated",
        ),
        ("a.nii.gz", lambda whole: gzip.compress(whole) + b"junk", r"other bytes follow its compressed data"),
        ("a.nii.gz", lambda whole: gzip.compress(whole)[:-8] + bytes(8), r"checksum or the length .* does not match"),
        ("a.nii.gz", lambda whole: gzip.compress(whole[:-9]), r"ends after 1.7 kB of voxels, expected 1.7 kB"),
        ("a.nii", lambda whole: whole[:200], r"it ends within its header, after 200 of 352 bytes"),
    ],
)
def test_another_kind_of_file(tmp_path: Path, name: str, content: Callable[[bytes], bytes], message: str) -> None:
    (tmp_path / name).write_bytes(content(whole_nifti()))
    with pytest.raises(DataError, match=message) as caught:
        read_volume(tmp_path / name)
    assert name in str(caught.value)


def test_whole_gzip_files_in_other_shapes(tmp_path: Path) -> None:
    """Members one after the other and zeros at the end are allowed in gzip."""
    whole, path = whole_nifti(), tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(whole[:500]) + gzip.compress(whole[500:]) + bytes(512))
    np.testing.assert_array_equal(read_volume(path)[0].numpy(), voxels())


def test_folder_under_the_name_of_a_volume(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(DataError, match=r"Expected an image at .*a.nii.gz, found a folder. Name the file in it"):
        read_volume(tmp_path / "a.nii.gz")


def test_claims_are_refused_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("camtools.data.nifti_files.FloatVoxels", no_memory)
    path = patched(tmp_path / "claims.nii.gz", "<4h", 40, 3, 5000, 5000, 48)
    with pytest.raises(
        DataError, match=r"its header claims 2.4 GB, shape \(5000, 5000, 48\) of int16, but the file has"
    ):
        read_volume(path)
    path = patched(tmp_path / "series.nii.gz", "<5h", 40, 4, 5000, 5000, 48, 900)
    with pytest.raises(DataError, match=r"found 4D data of shape \(5000, 5000, 48, 900\) in .*series.nii.gz"):
        read_volume(path)
    (tmp_path / "whole.nii.gz").write_bytes(gzip.compress(whole_nifti()))
    with pytest.raises(DataError, match=r"whole.nii.gz needs 3.4 kB of memory, more than is free.*may be intact"):
        read_volume(tmp_path / "whole.nii.gz")


@pytest.mark.parametrize(("value", "found"), [(1, 1), (255, 255), (7, 7), (0.99999, 1)])
def test_masks_of_whole_numbers(tmp_path: Path, value: float, found: int) -> None:
    array = np.zeros((4, 4, 3), np.float32)
    array[1, 1, 1] = value
    path = write_volume(tmp_path / "m.nii.gz", array)
    assert read_mask(path).unique().tolist() == [0, found]
    assert slice_tags({"image": "unused", "label": path}) == [0, 1, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1 / 255, r"found 1 voxels that are not whole numbers, such as 0.00392157.*Threshold it.*division"),
        (0.7, r"not whole numbers, such as 0.7"),
        (127.5, r"not whole numbers, such as 127.5"),
        (-1, r"with 0 for the background.*found negative values, the lowest -1,"),
        (np.nan, r"found 1 NaN or infinite voxels"),
    ],
)
def test_masks_of_other_values(tmp_path: Path, value: float, message: str) -> None:
    array = np.zeros((4, 4, 3), np.float32)
    array[1, 1, 1] = value
    path = write_volume(tmp_path / "m.nii.gz", array)
    with pytest.raises(DataError, match=rf"(?=.*m.nii.gz).*{message}"):
        slice_tags({"image": "unused", "label": path})


def test_words() -> None:
    assert [size_in_words(size) for size in (1, 999, 1000, 123_456, 5 * 10**12)] == [
        "1 bytes",
        "999 bytes",
        "1.0 kB",
        "123.5 kB",
        "5.0 TB",
    ]
    assert file_kind(b"RIFF\0\0\0\0WEBP") == "a WebP picture"
    assert file_kind(b"\x01\x02\xff") == "data of an unknown kind"
