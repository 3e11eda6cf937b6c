"""Reading volumes, and every way in which a file can be unusable."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from camtools.data import (
    DataError,
    read_volume,
    slices_to_volume,
    stacking_axis,
    volume_to_slices,
)
from camtools.data.nifti_files import nifti_geometry
from camtools.data.volumes import check_same_geometry, read_mask
from tests.conftest import blob_volume, oblique_affine, write_volume


def test_volume_is_channel_first_float(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = read_volume(write_volume(tmp_path / "a.nii.gz", array))
    assert volume.meta["filename_or_obj"].endswith("a.nii.gz")
    assert volume.shape == (1, 2, 3, 4)
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume[0].numpy(), array)
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 5, 1, 4), (4, 5, 6, 16)])
def test_the_fourth_axis_holds_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(-9, 9, shape).astype(np.int16)
    path = write_volume(tmp_path / "a.nii.gz", array)
    volume = read_volume(path)
    assert volume.shape == (shape[3], *shape[:3])
    np.testing.assert_array_equal(volume.numpy(), np.moveaxis(array, -1, 0))
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)
    affine, spatial = nifti_geometry(Path(path))
    assert spatial == shape[:3]
    np.testing.assert_array_equal(affine, volume.affine)


def test_a_truncated_last_channel_is_found(tmp_path: Path) -> None:
    path = Path(write_volume(tmp_path / "a.nii", np.zeros((4, 5, 6, 4), np.int16)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"shape \(4, 5, 6, 4\) of int16.*The file is truncated"):
        read_volume(path)


def test_a_mask_of_several_channels_is_refused(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6, 2), np.uint8)
    array[1, 1, 1, 0] = 1
    with pytest.raises(DataError, match=r"Expected a mask of one channel, .* found 2 channels that differ in .*m.nii"):
        read_mask(write_volume(tmp_path / "m.nii.gz", array))


def test_2d_image_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "grey.bmp")
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "grey.tif")
    assert read_volume(tmp_path / "rgb.png").shape == (3, 8, 6, 1)
    assert read_volume(tmp_path / "grey.bmp").shape == (1, 8, 6, 1)
    assert read_volume(tmp_path / "grey.tif").shape == (1, 8, 6, 1)


def test_missing_empty_and_truncated_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected an image at .*gone.nii.gz, found no such file"):
        read_volume(tmp_path / "gone.nii.gz")
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(DataError, match=r"found an empty file \(0 bytes\) in .*empty.nii.gz"):
        read_volume(tmp_path / "empty.nii.gz")
    whole = Path(write_volume(tmp_path / "whole.nii.gz", blob_volume(0)[0])).read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half.nii.gz cannot be read \(.*\). The file is truncated"):
        read_volume(tmp_path / "half.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_voxels_are_counted(tmp_path: Path, value: float) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(DataError, match=r"found 1 NaN or infinite voxels of 64 in .*bad.nii.gz"):
        read_volume(write_volume(tmp_path / "bad.nii.gz", array))


def test_a_series_is_refused(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "series.nii.gz", np.zeros((4, 5, 6, 17), np.float32))
    with pytest.raises(DataError, match=r"one 3D volume .*found 4D data of shape \(4, 5, 6, 17\) in .*series.nii.gz"):
        read_volume(path)


@pytest.mark.parametrize("name", ["IM0001", "a.dcm", "a.nii.gz", "a.png"])
def test_dicom_is_refused_with_how_to_convert_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(400))
    with pytest.raises(DataError, match=rf"found a DICOM file in .*{name}\. Convert the series .* dcm2niix -z y -o"):
        read_volume(tmp_path / name)


def test_geometry_of_image_and_mask_is_compared(tmp_path: Path) -> None:
    image = read_volume(write_volume(tmp_path / "i.nii.gz", np.zeros((4, 4, 4), np.uint8)))
    small = read_volume(write_volume(tmp_path / "s.nii.gz", np.zeros((4, 4, 3), np.uint8)))
    moved_affine = oblique_affine()
    moved_affine[0, 3] += 2
    moved = read_volume(write_volume(tmp_path / "m.nii.gz", np.zeros((4, 4, 4), np.uint8), moved_affine))
    check_same_geometry(image, image, "i", "i")
    with pytest.raises(DataError, match=r"shape \(4, 4, 4\) of the image i, found \(4, 4, 3\) in its mask s"):
        check_same_geometry(image, small, "i", "s")
    with pytest.raises(DataError, match=r"affine of the image i, found one that differs by up to 2 mm in its mask m"):
        check_same_geometry(image, moved, "i", "m")


def test_slice_axis_is_the_one_with_the_largest_spacing() -> None:
    assert stacking_axis(np.diag([5.0, 1.0, 1.0, 1.0])) == 0
    assert stacking_axis(oblique_affine((1.0, 4.0, 1.0))) == 1
    assert stacking_axis(np.eye(4)) == 2
    assert stacking_axis(np.diag([5.0, 1.0, 1.0, 1.0]), (6, 8, 1)) == 2


def test_slices_and_volumes_are_views_of_each_other() -> None:
    volume = torch.rand(2, 3, 4, 5)
    slices = volume_to_slices(volume)
    assert slices.shape == (5, 2, 3, 4)
    assert torch.equal(slices_to_volume(slices), volume)
    assert torch.equal(slices[3], volume[..., 3])


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    values = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]), header), tmp_path / "a.nii")
    assert nib.load(tmp_path / "a.nii").header.endianness == ">"
    volume = read_volume(tmp_path / "a.nii")
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume[0], values)
    np.testing.assert_array_equal(volume.affine, np.diag([1.0, 2.0, 3.0, 1.0]))
