"""A folder with one file for each channel, joined to one file for each case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, list_volumes
from camtools.data.importers import join_folder
from tests.data.importers import releases


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for case in ("p_1", "sub/p_2"):
        for channel in range(4):
            releases.save(tmp_path / "files" / f"{case}_{channel:04d}.nii.gz", releases.picture(channel))
    return tmp_path / "files"


def test_one_file_for_each_case(source: Path, tmp_path: Path) -> None:
    releases.save(source / "other.nii.gz", releases.picture(0))
    result = CliRunner().invoke(app, ["channels", str(source), "--output-dir", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Left out 1 images without the number of a channel, the first ones: other.nii.gz" in result.output
    assert "Wrote 2 cases to" in result.output
    assert [item["case"] for item in list_volumes(tmp_path / "out")] == ["p_1", "sub/p_2"]
    joined = releases.voxels(tmp_path / "out" / "sub" / "p_2.nii.gz")
    np.testing.assert_array_equal(joined, np.stack([releases.picture(channel) for channel in range(4)], axis=-1))


def test_missing_channels_are_all_named(source: Path, tmp_path: Path) -> None:
    (source / "p_1_0002.nii.gz").unlink()
    (source / "sub" / "p_2_0000.nii.gz").unlink()
    with pytest.raises(DataError, match=r"(?s)p_1 has no channel 0002.*p_2 has no channel 0000"):
        join_folder(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_channels(tmp_path: Path) -> None:
    releases.save(tmp_path / "files" / "a_0000.nii.gz", releases.picture(0))
    with pytest.raises(DataError, match=r"files of two or more channels, .* found 1 numbers of channels below .*files"):
        join_folder(tmp_path / "files", tmp_path / "out")


def test_a_folder_that_is_not_empty(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    with pytest.raises(FileExistsError, match=r"new or empty folder, found 1 entries, the first 'a'"):
        join_folder(source, tmp_path / "out")
