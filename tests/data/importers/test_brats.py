"""Import of BraTS releases: whole tumour, one modality, splits by patient, and every way a folder can be wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, Splits, load_datalist
from camtools.data.importers import import_brats, labelled
from camtools.engine.check import DatasetCheck

AFFINE = np.array([[-1.0, 0, 0, 5], [0, -1, 0, 239], [0, 0, 1, -3], [0, 0, 0, 1]])
KINDS = ("t1", "t1ce", "t2", "flair", "seg")


def voxels(path: str | Path) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.asanyarray(nib.load(path).dataobj)
    return array


def write_case(
    folder: Path, name: str, kinds: Sequence[str] = KINDS, joint: str = "_", suffix: str = ".nii.gz"
) -> Path:
    """A case of 6 x 5 x 4 voxels; slices 1 and 2 show the tumour with labels 1, 2 and 4."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(name) + ord(name[-1]))
    for kind in kinds:
        array = rng.integers(1, 900, (6, 5, 4)).astype(np.int16)
        if kind == "seg":
            array = np.zeros((6, 5, 4), np.uint8)
            array[1:4, 2, 1], array[2, 2, 1], array[3, 3, 2] = 2, 1, 4
        nib.save(nib.Nifti1Image(array, AFFINE), folder / f"{name}{joint}{kind}{suffix}")
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    source = tmp_path / "BraTS2021_Training_Data"
    for index in range(10):
        write_case(source / f"BraTS2021_{index:05d}", f"BraTS2021_{index:05d}")
    return source


@pytest.mark.parametrize(("modality", "names"), [("all", ("flair", "t1", "t1ce", "t2")), ("t2,flair", ("t2", "flair"))])
def test_several_modalities_become_the_channels(release: Path, tmp_path: Path, modality: str, names: Any) -> None:
    path = import_brats(release, tmp_path / "out", modality)
    case = "BraTS2021_00003"
    image = voxels(path.parent / f"{case}_image.nii.gz")
    assert image.shape == (6, 5, 4, len(names))
    for place, name in enumerate(names):
        np.testing.assert_array_equal(image[..., place], voxels(release / case / f"{case}_{name}.nii.gz"))
    content = json.loads(path.read_text())
    assert content["channel_names"] == {str(place): name for place, name in enumerate(names)}
    assert content["import"]["modality"] == ", ".join(names)


def test_a_modality_that_is_not_on_the_voxels_of_the_others(release: Path, tmp_path: Path) -> None:
    path = release / "BraTS2021_00003" / "BraTS2021_00003_t2.nii.gz"
    nib.save(nib.Nifti1Image(voxels(path), 2 * AFFINE), path)
    with pytest.raises(DataError, match=r"all channels of a case on the voxels of .*_flair.nii.gz, .* in .*_t2.nii.gz"):
        import_brats(release, tmp_path / "out", "all")


def items_of(path: Path) -> list[dict[str, Any]]:
    return [item for split in ("training", "validation", "test") for item in load_datalist(path.parent, split)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("modality", ["flair", "t1", "t1ce", "t2"])
def test_voxels_and_geometry_are_kept(release: Path, tmp_path: Path, modality: str) -> None:
    before = tree(release)
    path = import_brats(release, tmp_path / "out", modality)
    assert tree(release) == before
    items = items_of(path)
    assert len(items) == 10
    for item in items:
        name = Path(item["image"]).name.removesuffix("_image.nii.gz")
        source = release / name / f"{name}_{modality}.nii.gz"
        assert Path(item["image"]).read_bytes() == source.read_bytes()
        segmentation, label = nib.load(release / name / f"{name}_seg.nii.gz"), nib.load(item["label"])
        np.testing.assert_array_equal(voxels(item["label"]), np.asarray(segmentation.dataobj) > 0)
        np.testing.assert_array_equal(label.affine, AFFINE)
        assert label.get_data_dtype() == np.uint8
        assert set(np.unique(voxels(item["label"]))) == {0, 1}


def test_dataset_json(release: Path, tmp_path: Path) -> None:
    content = json.loads(import_brats(release, tmp_path / "out", seed=3).read_text())
    assert content["name"] == "BraTS"
    assert content["labels"] == {"0": "background", "1": "tumour"}
    assert [len(content[split]) for split in ("training", "validation", "test")] == [8, 1, 1]
    assert content["test"][0].keys() == {"image", "label", "slices", "positive_slices", "patient"}
    assert {(item["slices"], item["positive_slices"]) for item in content["training"]} == {(4, 2)}
    assert content["skipped"] == []
    assert (content["import"]["modality"], content["import"]["seed"]) == ("flair", 3)
    assert str(tmp_path) not in json.dumps(content)


def test_the_dataset_passes_the_check(release: Path, tmp_path: Path) -> None:
    path = import_brats(release, tmp_path / "out")
    splits = {name: load_datalist(path.parent, name) for name in ("training", "validation", "test")}
    DatasetCheck(Splits(**splits), tmp_path / "run", workers=1).run()
    rows = json.loads((tmp_path / "run" / "dataset_check.json").read_text())
    assert "positive_slices" in json.dumps(rows)


def test_images_cost_no_space_where_links_work(release: Path, tmp_path: Path) -> None:
    item = items_of(import_brats(release, tmp_path / "out"))[0]
    name = Path(item["image"]).name.removesuffix("_image.nii.gz")
    assert os.path.samefile(item["image"], release / name / f"{name}_flair.nii.gz")


def test_images_are_copied_where_links_do_not_work(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(labelled.os, "link", refuse)
    item = items_of(import_brats(release, tmp_path / "out"))[0]
    name = Path(item["image"]).name.removesuffix("_image.nii.gz")
    source = release / name / f"{name}_flair.nii.gz"
    assert not os.path.samefile(item["image"], source)
    assert Path(item["image"]).read_bytes() == source.read_bytes()


def test_older_and_newer_names(tmp_path: Path) -> None:
    source = tmp_path / "mixed"
    write_case(source / "HGG" / "Brats18_TCIA01_131_1", "Brats18_TCIA01_131_1", suffix=".nii")
    write_case(source / "LGG" / "Brats18_2013_0_1", "Brats18_2013_0_1")
    for scan in ("000", "001", "002"):
        name = f"BraTS-GLI-00005-{scan}"
        write_case(source / name, name, ("t1n", "t1c", "t2w", "t2f", "seg"), joint="-")
    path = import_brats(source, tmp_path / "out", "t1ce")
    images = {Path(item["image"]).name: item for item in items_of(path)}
    assert "Brats18_TCIA01_131_1_image.nii" in images
    assert len(images) == 5
    expected = voxels(source / "BraTS-GLI-00005-001" / "BraTS-GLI-00005-001-t1c.nii.gz")
    np.testing.assert_array_equal(voxels(images["BraTS-GLI-00005-001_image.nii.gz"]["image"]), expected)
    patients = {
        item["patient"] for split in ("training", "validation", "test") for item in json.loads(path.read_text())[split]
    }
    assert patients == {"Brats18_TCIA01_131", "Brats18_2013_0", "BraTS-GLI-00005"}


def test_a_patient_stays_in_one_split(tmp_path: Path) -> None:
    source = tmp_path / "glioma"
    for patient in range(4):
        for scan in range(2):
            name = f"BraTS-GLI-{patient:05d}-{scan:03d}"
            write_case(source / name, name, ("t2f", "seg"), joint="-")
    for seed in range(5):
        content = json.loads(import_brats(source, tmp_path / f"out{seed}", seed=seed).read_text())
        groups = [{item["patient"] for item in content[split]} for split in ("training", "validation", "test")]
        assert [len(group) for group in groups] == [2, 1, 1]
        assert len(set.union(*groups)) == 4


def test_cases_without_segmentation_are_skipped_and_named(release: Path, tmp_path: Path) -> None:
    (release / "BraTS2021_00004" / "BraTS2021_00004_seg.nii.gz").unlink()
    (release / "BraTS2021_00007" / "BraTS2021_00007_seg.nii.gz").unlink()
    result = CliRunner().invoke(app, ["import", "brats", str(release), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "Skipped 2 cases without a segmentation: BraTS2021_00004, BraTS2021_00007" in result.output
    assert len(items_of(tmp_path / "out" / "dataset.json")) == 8


def test_a_release_without_segmentations(tmp_path: Path) -> None:
    write_case(tmp_path / "validation" / "BraTS2021_00001", "BraTS2021_00001", ("t1", "flair"))
    with pytest.raises(
        DataError, match=r"Expected segmentations .* found none below .*validation\. .* training release"
    ):
        import_brats(tmp_path / "validation", tmp_path / "out")


def test_all_cases_without_the_modality_are_named(release: Path, tmp_path: Path) -> None:
    for index in (2, 5):
        (release / f"BraTS2021_{index:05d}" / f"BraTS2021_{index:05d}_t2.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"t2 image for each of the 10 cases .* none for 2: BraTS2021_00002, BraTS2021_00005\. Add"
    ):
        import_brats(release, tmp_path / "out", "t2")
    assert not (tmp_path / "out").exists()


def test_a_case_found_twice(release: Path, tmp_path: Path) -> None:
    write_case(release / "copy" / "BraTS2021_00002", "BraTS2021_00002", ("flair",))
    places = rf"{release}/BraTS2021_00002/BraTS2021_00002_flair.nii.gz and {release}/copy/BraTS2021_00002"
    with pytest.raises(DataError, match=rf"found 1 of them several times(.|\n)*{places}"):
        import_brats(release, tmp_path / "out")


def test_no_case_no_folder_unknown_modality(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Expected files of BraTS such as BraTS2021_00000/.* found none below .*empty"):
        import_brats(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match=r"Expected the folder of a release, found none at .*absent\. Check the path"):
        import_brats(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ValueError, match=r"Expected modality flair, t1, t1ce, t2, found 'pd'"):
        import_brats(tmp_path / "empty", tmp_path / "out", "pd")


def resave(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)


def test_segmentations_that_do_not_fit(release: Path, tmp_path: Path) -> None:
    path = release / "BraTS2021_00003" / "BraTS2021_00003_seg.nii.gz"
    resave(path, np.zeros((6, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"00003_seg.nii.gz on the voxels .* shapes \(6, 5, 3\) and \(6, 5, 4\)"):
        import_brats(release, tmp_path / "out")
    resave(path, np.zeros((6, 5, 4), np.uint8), np.diag([-1.0, -1, 2, 1]) + AFFINE - np.diag(np.diag(AFFINE)))
    with pytest.raises(DataError, match=r"affines that differ by up to 1 mm\. Copy the case again"):
        import_brats(release, tmp_path / "out")
    resave(path, np.full((6, 5, 4), 255, np.uint8))
    with pytest.raises(DataError, match=r"Expected labels 0 to 4 in .*00003_seg.nii.gz, found \[255\]"):
        import_brats(release, tmp_path / "out")
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"Expected .* NIfTI data, found a text file in .*00003_seg.nii.gz"):
        import_brats(release, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == [release.name]


def test_out_within_the_source(release: Path) -> None:
    with pytest.raises(DataError, match=r"Expected an output folder outside .*, found .*out\. Choose another"):
        import_brats(release, release / "out")


def test_command(release: Path, tmp_path: Path) -> None:
    arguments = ["import", "brats", str(release), "--out", str(tmp_path / "out"), "--modality", "t2"]
    result = CliRunner().invoke(app, [*arguments, "--split", "0.5", "0.2", "0.3", "--seed", "4"])
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.output.splitlines()]
    assert ["split", "patients", "cases", "slices", "positive"] in table
    assert ["training", "5", "5", "20", "10"] in table
    assert ["validation", "2", "2", "8", "4"] in table
    assert ["test", "3", "3", "12", "6"] in table
    assert "Wrote" in result.output
    failed = CliRunner().invoke(app, [*arguments[:-1], "pd"])
    assert failed.exit_code == 1
    assert re.search(r"Error: Expected modality flair, t1, t1ce, t2, found 'pd'", failed.output)
