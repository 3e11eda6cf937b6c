"""Import of the LGG dataset: slices in numeric order, one channel, the patient upright, and what is missing by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, Splits, load_datalist, read_volume
from camtools.data.importers import import_lgg
from camtools.engine.check import DatasetCheck

ROWS, COLUMNS, SLICES = 6, 8, 11


def write_case(folder: Path, seed: int) -> np.ndarray[Any, Any]:
    """Slices 1 to 11 (so that 10 sorts before 2 as text), tumour on 3 and 10; returns ``(slice, row, column, RGB)``."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SLICES, ROWS, COLUMNS, 3)).astype(np.uint8)
    for number in range(1, SLICES + 1):
        mask = np.zeros((ROWS, COLUMNS), np.uint8)
        if number in (3, 10):
            mask[1, number - 3] = 255
        Image.fromarray(pixels[number - 1]).save(folder / f"{folder.name}_{number}.tif")
        Image.fromarray(mask).save(folder / f"{folder.name}_{number}_mask.tif")
    return pixels


CASES = ("TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222", "TCGA_DU_5852_19950709", "TCGA_CS_4941_19981112")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    source = tmp_path / "kaggle_3m"
    for seed, name in enumerate(CASES):
        write_case(source / name, seed)
    (source / "data.csv").write_text("Patient,RNASeqCluster\n")
    (source / "README.md").write_text("about\n")
    return source


def by_name(path: Path) -> dict[str, dict[str, Any]]:
    items = [item for split in ("training", "validation", "test") for item in load_datalist(path.parent, split)]
    return {Path(item["image"]).name.removesuffix("_image.nii.gz"): item for item in items}


@pytest.mark.parametrize(("modality", "channel"), [("pre", 0), ("flair", 1), ("post", 2)])
def test_slices_are_stacked_in_numeric_order(tmp_path: Path, modality: str, channel: int) -> None:
    pixels = {name: write_case(tmp_path / "in" / name, seed) for seed, name in enumerate(CASES)}
    items = by_name(import_lgg(tmp_path / "in", tmp_path / "out", modality))
    assert sorted(items) == sorted(CASES)
    for name, item in items.items():
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.uint8, np.uint8)
        # (slice, row, column) of the TIFFs is (column, row, slice) of the volume.
        np.testing.assert_array_equal(np.asarray(image.dataobj), pixels[name][..., channel].transpose(2, 1, 0))
        found = np.argwhere(np.asarray(label.dataobj) == 1).tolist()
        assert found == [[0, 1, 2], [7, 1, 9]]
        assert set(np.unique(np.asarray(label.dataobj))) == {0, 1}
        for volume in (image, label):
            # To the patient's left along the columns, to the back along the rows, up along the slices.
            assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
            np.testing.assert_allclose(volume.header.get_zooms(), (1, 1, 1))
            assert volume.header.get_xyzt_units()[0] == "mm"


def test_axes_agree_with_the_reader_of_2d_images(release: Path, tmp_path: Path) -> None:
    item = by_name(import_lgg(release, tmp_path / "out"))[CASES[0]]
    single = read_volume(release / CASES[0] / f"{CASES[0]}_7.tif")
    np.testing.assert_array_equal(read_volume(item["image"])[0, :, :, 6].numpy(), single[1, :, :, 0].numpy())


def test_dataset_json_and_check(release: Path, tmp_path: Path) -> None:
    path = import_lgg(release, tmp_path / "out")
    content = json.loads(path.read_text())
    assert content["labels"] == {"0": "background", "1": "tumour"}
    assert "nominal" in content["description"]
    names = {item["image"] for split in ("training", "validation", "test") for item in content[split]}
    assert names == {f"{name}_image.nii.gz" for name in CASES}
    splits = {name: load_datalist(path.parent, name) for name in ("training", "validation", "test")}
    DatasetCheck(Splits(**splits), tmp_path / "run", workers=1).run()
    for split in splits:
        assert {(item["slices"], item["positive_slices"]) for item in content[split]} == {(SLICES, 2)}


def test_both_scans_of_a_patient_share_a_split(release: Path, tmp_path: Path) -> None:
    homes = set()
    for seed in range(6):
        content = json.loads(import_lgg(release, tmp_path / f"out{seed}", seed=seed).read_text())
        patients = {split: [item["patient"] for item in content[split]] for split in ("training", "validation", "test")}
        (home,) = [split for split, found in patients.items() if "TCGA_CS_4941" in found]
        assert patients[home] == ["TCGA_CS_4941", "TCGA_CS_4941"]
        assert all(patients.values())
        homes.add(home)
    assert len(homes) > 1


def test_everything_that_is_missing_is_named_at_once(release: Path, tmp_path: Path) -> None:
    first, second, third = (release / name / name for name in CASES[:3])
    for end in ("_4.tif", "_4_mask.tif", "_1.tif", "_1_mask.tif"):
        Path(f"{first}{end}").unlink()
    Path(f"{second}_5_mask.tif").unlink()
    Path(f"{third}_6.tif").unlink()
    with pytest.raises(DataError, match=r"Expected complete cases below .*Copy these files again") as caught:
        import_lgg(release, tmp_path / "out")
    assert str(caught.value).splitlines()[1:] == [
        f"  {CASES[0]}: slice {CASES[0]}_1.tif and its mask are missing",
        f"  {CASES[0]}: slice {CASES[0]}_4.tif and its mask are missing",
        f"  {second}_5.tif has no mask {CASES[1]}_5_mask.tif",
        f"  {third}_6_mask.tif has no image {CASES[2]}_6.tif",
    ]
    assert not (tmp_path / "out").exists()


def test_files_of_the_wrong_kind_are_named_at_once(release: Path, tmp_path: Path) -> None:
    case = release / CASES[0]
    Image.fromarray(np.zeros((ROWS, 5, 3), np.uint8)).save(case / f"{CASES[0]}_2.tif")
    Image.fromarray(np.zeros((4, COLUMNS), np.uint8)).save(case / f"{CASES[0]}_3_mask.tif")
    Image.fromarray(np.zeros((ROWS, COLUMNS), np.uint8)).save(case / f"{CASES[0]}_8.tif")
    (case / f"{CASES[0]}_9.tif").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"_9.tif cannot be read \(no picture") as caught:
        import_lgg(release, tmp_path / "out")
    message = str(caught.value)
    assert f"{CASES[0]}_2.tif has (5, 6) pixels, expected (8, 6) as in {CASES[0]}_1.tif" in message
    assert f"{CASES[0]}_3_mask.tif has (8, 4) pixels, expected (8, 6)" in message
    assert f"{CASES[0]}_8.tif is of mode L, expected RGB" in message


def test_grey_masks_and_truncated_slices(release: Path, tmp_path: Path) -> None:
    path = release / CASES[1] / f"{CASES[1]}_2_mask.tif"
    whole = path.read_bytes()
    Image.fromarray(np.full((ROWS, COLUMNS), 90, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"Expected 0 and 255 in the mask .*_2_mask.tif, found \[90\]\. Copy"):
        import_lgg(release, tmp_path / "out")
    path.write_bytes(whole)
    image = release / CASES[1] / f"{CASES[1]}_2.tif"
    Image.fromarray(np.zeros((ROWS, COLUMNS, 3), np.uint8)).save(image, compression="tiff_adobe_deflate")
    content = image.read_bytes()
    start = content.index(b"\x78")
    image.write_bytes(content[:start] + b"\x00\x00\x00" + content[start + 3 :])
    with pytest.raises(DataError, match=r"_2.tif cannot be read \(.*\)\. Copy the file again"):
        import_lgg(release, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == [release.name]


def test_a_release_unpacked_twice(release: Path, tmp_path: Path) -> None:
    write_case(release / "lgg-mri-segmentation" / CASES[0], 0)
    with pytest.raises(DataError, match=rf"found {2 * SLICES} of them several times. Give the folder of one copy"):
        import_lgg(release, tmp_path / "out")


def test_no_case_and_unknown_modality(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"Expected files of the LGG dataset such as TCGA_CS_4941.* found none below .*empty"
    ):
        import_lgg(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match=r"Expected modality pre, flair, post, found 't1'"):
        import_lgg(tmp_path / "empty", tmp_path / "out", "t1")


def test_command(release: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "lgg", str(release), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.output.splitlines()]
    counts = {row[0]: row[1:] for row in table if row and row[0] in ("training", "validation", "test")}
    assert sorted(int(row[0]) for row in counts.values()) == [1, 1, 1]
    assert sum(int(row[1]) for row in counts.values()) == 4
    assert sum(int(row[2]) for row in counts.values()) == 4 * SLICES
    assert sum(int(row[3]) for row in counts.values()) == 8
    assert "Skipped" not in result.output
