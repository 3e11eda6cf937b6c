"""Channels out of one file, and one file out of several: values, order and geometry."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from camtools.data import DataError, read_volume
from camtools.data.importers.channel_files import Channels, join_channels, pick_channels
from tests.data.importers import releases


def test_scaled_voxels_of_a_channel_keep_their_values(tmp_path: Path) -> None:
    raw = nib.Nifti1Image(releases.picture(1, (*releases.SHAPE, 2)), releases.AFFINE)
    raw.header.set_slope_inter(0.5, -3)
    nib.save(raw, tmp_path / "a.nii.gz")
    pick_channels(tmp_path / "a.nii.gz", Channels((1,), 2), tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(
        releases.voxels(tmp_path / "one.nii.gz"), releases.voxels(tmp_path / "a.nii.gz")[..., 1]
    )


def test_channels_in_the_order_wanted(tmp_path: Path) -> None:
    path = releases.save(tmp_path / "a.nii.gz", releases.picture(1, (*releases.SHAPE, 3)))
    pick_channels(path, Channels((2, 0), 3), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(releases.voxels(tmp_path / "two.nii.gz"), releases.voxels(path)[..., [2, 0]])


@pytest.mark.parametrize(("scale", "dtype"), [(1, np.int16), (0.25, np.float32)])
def test_joined_files_keep_values_and_geometry(tmp_path: Path, scale: float, dtype: type) -> None:
    files = []
    for number in range(4):
        values = (releases.picture(number) * scale).astype(np.float64 if scale < 1 else np.int16)
        files.append(releases.save(tmp_path / f"a_{number:04d}.nii.gz", values))
    join_channels(files, tmp_path / "a.nii.gz")
    joined = read_volume(tmp_path / "a.nii.gz")
    assert joined.shape == (4, *releases.SHAPE)
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == dtype
    for number, file in enumerate(files):
        np.testing.assert_array_equal(joined[number].numpy(), read_volume(file)[0].numpy())
    np.testing.assert_array_equal(joined.affine, releases.AFFINE)


def test_channels_on_other_voxels_are_named(tmp_path: Path) -> None:
    first = releases.save(tmp_path / "a_0000.nii.gz", releases.picture(0))
    small = releases.save(tmp_path / "a_0001.nii.gz", releases.picture(1, (6, 5, 3)))
    found = r"voxels of .*a_0000.nii.gz, found the shapes \(6, 5, 4\) and \(6, 5, 3\), .*in .*a_0001.nii.gz\. Resample"
    with pytest.raises(DataError, match=found):
        join_channels([first, small], tmp_path / "a.nii.gz")
    moved = releases.AFFINE.copy()
    moved[2, 3] += 1
    releases.save(small, releases.picture(1), moved)
    with pytest.raises(DataError, match=r"affines that differ by up to 1 mm, in .*a_0001.nii.gz"):
        join_channels([first, small], tmp_path / "a.nii.gz")
    releases.save(small, releases.picture(1, (*releases.SHAPE, 2)))
    with pytest.raises(DataError, match=r"Expected one channel in each file of a case, found 2 in .*a_0001.nii.gz"):
        join_channels([first, small], tmp_path / "a.nii.gz")
    assert not (tmp_path / "a.nii.gz").exists()
