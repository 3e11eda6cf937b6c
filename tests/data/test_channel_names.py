"""Files of single channels are recognised by their names and headers, and refused where they would be cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camtools.data import DataError, list_volumes
from camtools.data.volumes import read_volume
from tests.conftest import write_volume

ARRAY = np.zeros((4, 5, 3), np.int16)


def test_files_of_single_channels_are_refused_with_the_command_that_joins_them(tmp_path: Path) -> None:
    for channel in range(4):
        write_volume(tmp_path / f"p1_{channel:04d}.nii.gz", ARRAY)
    found = r"one file for each channel of a case below .*: p1_0000.nii.gz, .*p1_0003.nii.gz\. Join them: camtools chan"
    with pytest.raises(DataError, match=found):
        list_volumes(tmp_path)


def test_one_channel_and_numbered_cases_are_volumes(tmp_path: Path) -> None:
    write_volume(tmp_path / "a_0000.nii.gz", ARRAY)
    write_volume(tmp_path / "b_0001.nii.gz", ARRAY)
    write_volume(tmp_path / "b_0002.nii.gz", ARRAY)
    write_volume(tmp_path / "c_0000.nii.gz", ARRAY)
    write_volume(tmp_path / "c_0001.nii.gz", ARRAY, np.diag([1.0, 1.0, 4.0, 1.0]))  # of another patient
    for number in range(2):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"d_{number:04d}.png")
    assert len(list_volumes(tmp_path)) == 7


def test_the_fourth_axis_needs_no_name(tmp_path: Path) -> None:
    write_volume(tmp_path / "p1.nii.gz", np.stack([ARRAY] * 4, axis=-1))
    assert read_volume(list_volumes(tmp_path)[0]["image"]).shape == (4, *ARRAY.shape)
