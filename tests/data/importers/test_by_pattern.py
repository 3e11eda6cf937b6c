"""Import of any folder by patterns: pairs, cases, patients, and patterns that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError
from camtools.data.importers import Choices, import_by_pattern
from tests.data.importers import releases

PATTERNS = ("images/*.nii.gz", "masks/*_seg.nii.gz")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for index, case in enumerate(("a_1", "a_2", "b_1", "c_1")):
        releases.save(tmp_path / "mine" / "images" / f"{case}.nii.gz", releases.picture(index))
        releases.save(tmp_path / "mine" / "masks" / f"{case}_seg.nii.gz", releases.labels())
    return tmp_path / "mine"


def test_command(source: Path, tmp_path: Path) -> None:
    releases.save(source / "images" / "d_1.nii.gz", releases.picture(9))
    arguments = ["dataset", str(source), "--images", PATTERNS[0], "--masks", PATTERNS[1], "--classes", "1,3"]
    result = CliRunner().invoke(app, [*arguments, "--patient", r"/([a-z])_", "--output-dir", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Skipped 1 cases without a segmentation: d_1" in result.output
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert {item["patient"] for split in ("training", "validation", "test") for item in content[split]} == set("abc")
    item = releases.items_of(tmp_path / "out" / "dataset.json")["a_2_image.nii.gz"]
    np.testing.assert_array_equal(releases.voxels(item["label"]), np.isin(releases.labels(), (1, 3)))


def test_a_folder_for_each_patient_and_one_for_all(tmp_path: Path) -> None:
    for index, case in enumerate("abc"):
        releases.save(tmp_path / "in" / case / f"{case}_t2.nii.gz", releases.picture(index))
        releases.save(tmp_path / "in" / case / f"{case}_t2_mask.nii.gz", releases.labels())
    path = import_by_pattern(tmp_path / "in", tmp_path / "out", "*/*_t2.nii.gz", "*/*_t2_mask.nii.gz")
    assert set(releases.items_of(path)) == {"a_image.nii.gz", "b_image.nii.gz", "c_image.nii.gz"}
    # every mask fits the pattern of the images too
    path = import_by_pattern(tmp_path / "in", tmp_path / "out2", "*/*.nii.gz", "*/*_mask.nii.gz")
    assert set(releases.items_of(path)) == {"a_a_t2_image.nii.gz", "b_b_t2_image.nii.gz", "c_c_t2_image.nii.gz"}


def test_pictures(tmp_path: Path) -> None:
    mask = np.zeros((4, 7), np.uint8)
    mask[1, 5] = 255
    for case in "abc":
        (tmp_path / "in" / case).mkdir(parents=True)
        Image.fromarray(mask + 0).save(tmp_path / "in" / case / "photo.png")
        Image.fromarray(mask).save(tmp_path / "in" / case / "mask.png")
    path = import_by_pattern(tmp_path / "in", tmp_path / "out", "*/photo.png", "*/mask.png")
    item = releases.items_of(path)["b_image.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(item["label"])), mask > 0)


def test_patterns_that_find_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected masks by the pattern 'masks/\*.nrrd' below .*, found none\."):
        import_by_pattern(source, tmp_path / "out", PATTERNS[0], "masks/*.nrrd")
    with pytest.raises(DataError, match=r"Expected images by the pattern '\*.png' below .* none\. Correct --images"):
        import_by_pattern(source, tmp_path / "out", "*.png", PATTERNS[1])


@pytest.mark.parametrize("images", ["image.nii.gz", "*/*.nii.gz", "**.nii.gz"])
def test_stars_that_do_not_fit(source: Path, tmp_path: Path, images: str) -> None:
    with pytest.raises(ValueError, match=r"patterns with the same number of stars, .* found '.*' and 'masks/\*_seg"):
        import_by_pattern(source, tmp_path / "out", images, PATTERNS[1])


def test_masks_without_an_image_are_named(source: Path, tmp_path: Path) -> None:
    (source / "images" / "b_1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"masks/b_1_seg.nii.gz has no image by the pattern 'images/\*.nii.gz'"):
        import_by_pattern(source, tmp_path / "out", *PATTERNS)


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    for folder, name in (("a_b", "c"), ("a", "b_c"), ("d", "e")):
        releases.save(tmp_path / "in" / folder / f"{name}.nii.gz", releases.picture(1))
        releases.save(tmp_path / "in" / folder / f"{name}_seg.nii.gz", releases.labels())
    with pytest.raises(DataError, match=r"name of its own for each of 3 cases, found 2 names, .* Rename a folder"):
        import_by_pattern(tmp_path / "in", tmp_path / "out", "*/*.nii.gz", "*/*_seg.nii.gz")


def test_choices_that_do_not_fit(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected classes as values above 0 .*, found 'liver'\. Correct --classes"):
        import_by_pattern(source, tmp_path / "out", *PATTERNS, Choices(classes="liver"))
    with pytest.raises(DataError, match=r"a patient in every name by the pattern 'p\[0-9\]\+', found none in 4 of 4"):
        import_by_pattern(source, tmp_path / "out", *PATTERNS, Choices(patient="p[0-9]+"))
    with pytest.raises(ValueError, match=r"a regular expression for the patient, found '\(' \(.*\)\. Correct it"):
        import_by_pattern(source, tmp_path / "out", *PATTERNS, Choices(patient="("))
