"""Import of tasks of the Medical Segmentation Decathlon: 4D images, listed files, and broken releases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, Splits, load_datalist, read_volume
from camtools.data.importers import Choices, import_msd
from camtools.engine.check import DatasetCheck
from tests.data.importers import releases


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return releases.msd(tmp_path / "Task01_BrainTumour")


def change(source: Path, **content: Any) -> None:
    path = source / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def test_one_channel_of_4d_images(source: Path, tmp_path: Path) -> None:
    arguments = ["import", "msd", str(source), "--out", str(tmp_path / "out"), "--channel", "T1w"]
    result = CliRunner().invoke(app, [*arguments, "--classes", "edema,2"])
    assert result.exit_code == 0, result.output
    assert "Skipped 1 cases without a segmentation: BRATS_485" in result.output
    items = releases.items_of(tmp_path / "out" / "dataset.json")
    assert len(items) == 4
    item = items["BRATS_002_image.nii.gz"]
    image, whole = nib.load(item["image"]), releases.voxels(source / "imagesTr" / "BRATS_002.nii.gz")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(releases.voxels(item["image"]), whole[..., 1])
    np.testing.assert_array_equal(read_volume(item["image"]).affine, releases.AFFINE)
    np.testing.assert_array_equal(releases.voxels(item["label"]), np.isin(releases.labels(), (1, 2)))


def test_all_channels_are_linked_and_named(source: Path, tmp_path: Path) -> None:
    path = import_msd(source, tmp_path / "out", Choices("all"))
    item = releases.items_of(path)["BRATS_001_image.nii.gz"]
    assert os.path.samefile(item["image"], source / "imagesTr" / "BRATS_001.nii.gz")
    assert json.loads(path.read_text())["channel_names"] == {"0": "FLAIR", "1": "T1w", "2": "T2w"}
    two = releases.items_of(import_msd(source, tmp_path / "two", Choices("T2w,FLAIR")))["BRATS_001_image.nii.gz"]
    whole = releases.voxels(source / "imagesTr" / "BRATS_001.nii.gz")
    np.testing.assert_array_equal(releases.voxels(two["image"]), whole[..., [2, 0]])
    assert read_volume(two["image"]).shape == (2, *releases.SHAPE)
    splits = {name: load_datalist(path.parent, name) for name in ("training", "validation", "test")}
    DatasetCheck(Splits(**splits), tmp_path / "run", workers=1, channels=3).run()
    rows = json.loads((tmp_path / "run" / "dataset_check.json").read_text())
    assert {row["channels"] for row in rows} == {3}


@pytest.mark.parametrize("wanted", ["FLAIR", "all"])
def test_images_with_fewer_channels(source: Path, tmp_path: Path, wanted: str) -> None:
    releases.save(source / "imagesTr" / "BRATS_002.nii.gz", releases.picture(0, (*releases.SHAPE, 2)))
    with pytest.raises(DataError, match=r"4D data with 3 channels, .* found the shape \(6, 5, 4, 2\) in .*002.nii.gz"):
        import_msd(source, tmp_path / "out", Choices(wanted))
    assert not (tmp_path / "out").exists()


def test_more_channels_than_the_file_says(source: Path, tmp_path: Path) -> None:
    change(source, modality={"0": "FLAIR"})
    with pytest.raises(DataError, match=r"Expected one 3D volume .*, found 4D data of shape"):
        import_msd(source, tmp_path / "out")


def test_images_of_one_channel_are_linked(tmp_path: Path) -> None:
    source = releases.msd(tmp_path / "Task04_Hippocampus", channels=1)
    items = releases.items_of(import_msd(source, tmp_path / "out"))
    assert os.path.samefile(items["BRATS_001_image.nii.gz"]["image"], source / "imagesTr" / "BRATS_001.nii.gz")


def test_missing_files_are_all_named(source: Path, tmp_path: Path) -> None:
    (source / "labelsTr" / "BRATS_001.nii.gz").unlink()
    (source / "imagesTr" / "BRATS_003.nii.gz").unlink()
    with pytest.raises(DataError, match=r"(?s)labelsTr/BRATS_001.nii.gz is missing.*imagesTr/BRATS_003.nii.gz is miss"):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))


def test_a_damaged_end_is_found_though_the_channel_is_complete(source: Path, tmp_path: Path) -> None:
    path = source / "imagesTr" / "BRATS_000.nii.gz"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(DataError, match=r"BRATS_000.nii.gz cannot be read \(its header or its voxels are incomplete"):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))


def test_a_label_that_does_not_fit(source: Path, tmp_path: Path) -> None:
    releases.save(source / "labelsTr" / "BRATS_001.nii.gz", np.zeros((6, 5, 3), np.uint8))
    found = r"labelsTr/BRATS_001.nii.gz on the voxels of .*imagesTr/BRATS_001.nii.gz, found the shapes \(6, 5, 3\)"
    with pytest.raises(DataError, match=found + r" and \(6, 5, 4\)"):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))


@pytest.mark.parametrize("path", ["../outside.nii.gz", 7, None])
def test_paths_that_cannot_be_used(source: Path, tmp_path: Path, path: Any) -> None:
    change(source, training=[{"image": path, "label": "labelsTr/BRATS_001.nii.gz"}])
    with pytest.raises(DataError, match=r'file below .*Task01_BrainTumour under "image", found .* in .*dataset.json'):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))


def test_lists_that_cannot_be_used(source: Path, tmp_path: Path) -> None:
    entry = {"image": "imagesTr/BRATS_001.nii.gz", "label": "labelsTr/BRATS_001.nii.gz"}
    change(source, training=[entry, entry])
    with pytest.raises(DataError, match=r"Expected every case once, found BRATS_001 twice under \"training\""):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))
    change(source, training=[])
    with pytest.raises(DataError, match=r"Expected \"training\" .*, found \[\] in .* use 'camtools import nnunet'"):
        import_msd(source, tmp_path / "out", Choices("FLAIR"))
