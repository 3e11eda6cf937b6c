"""Import of GlaS: both layouts, numbers of glands, whole patients held out, and everything that is wrong by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, load_datalist, read_volume
from camtools.data.importers import format_summary, import_glas
from camtools.data.volumes import check_same_geometry

ROWS, COLUMNS = 6, 9
HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
# Name, patient, grade; the patient of testA_1 has training images too, that of testB_1 has none.
CASES = [
    ("train_1", "2", "malignant"),
    ("train_2", "2", "benign"),
    ("train_10", "5", "benign"),
    ("train_3", "11", "malignant"),
    ("train_4", "5", "benign"),
    ("testA_1", "2", "malignant"),
    ("testB_1", "12", "benign"),
]


def picture(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)


def glands(first: int = 1, second: int = 2) -> np.ndarray[Any, Any]:
    numbers = np.zeros((ROWS, COLUMNS), np.uint8)
    numbers[0, :2] = first
    numbers[3:5, 7] = second
    return numbers


def save(array: np.ndarray[Any, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The release as it unpacks: a flat folder in a folder, old Mac line ends, stray spaces in the table."""
    folder = tmp_path / "in" / "Warwick QU Dataset"
    lines = [HEADER]
    for seed, (name, patient, grade) in enumerate(CASES):
        save(picture(seed), folder / f"{name}.bmp")
        save(glands(), folder / f"{name}_anno.bmp")
        lines.append(f"{name},{patient}, {grade}, healthy ")
    (folder / "Grade.csv").write_bytes("\r".join(lines).encode())
    (folder / "README.txt").write_text("about\n")
    return tmp_path / "in"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Images, masks of 0 and 255 and ``metadata.csv``; training images alone."""
    folder = tmp_path / "plain"
    lines = ["name,split,patient,grade,width,height,gland_fraction"]
    for seed, (name, patient, grade) in enumerate(CASES[:5]):
        save(picture(seed), folder / f"images/{name}.png")
        save(glands(255, 255), folder / f"masks/{name}.png")
        lines.append(f"{name},train,{patient},{grade},{COLUMNS},{ROWS},0.1")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def names(path: Path) -> dict[str, list[str]]:
    content = json.loads(path.read_text())
    return {
        split: [item["image"].removesuffix("_image.png") for item in content[split]]
        for split in ("training", "validation", "test")
    }


def test_release_keeps_pixels_numbers_patient_and_grade(release: Path, tmp_path: Path) -> None:
    path = import_glas(release, tmp_path / "out")
    content = json.loads(path.read_text())
    found = {item["image"]: item for split in ("training", "validation", "test") for item in content[split]}
    assert sorted(found) == sorted(f"{name}_image.png" for name, _, _ in CASES)
    for seed, (name, patient, grade) in enumerate(CASES):
        item = found[f"{name}_image.png"]
        assert (item["patient"], item["grade"]) == (patient, grade)
        assert (item["slices"], item["positive_slices"]) == (1, 1)
        image, label = (Image.open(path.parent / item[key]) for key in ("image", "label"))
        assert (image.format, image.mode, label.format, label.mode) == ("PNG", "RGB", "PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), picture(seed))
        np.testing.assert_array_equal(np.asarray(label), glands())
    assert content["labels"] == {"0": "background", "1": "gland"}
    assert names(path)["test"] == ["testA_1", "testB_1"]


def test_masks_of_0_and_255_become_0_and_1(plain: Path, tmp_path: Path) -> None:
    path = import_glas(plain, tmp_path / "out")
    for name, _, _ in CASES[:5]:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/{name}_label.png")), glands(1, 1))
    assert names(path)["test"] == []
    assert "The release has no test cases: that split is empty." in format_summary(path).splitlines()


def test_pixels_of_a_palette_are_the_numbers(release: Path, tmp_path: Path) -> None:
    mask = Image.fromarray(glands(3, 9))
    mask.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    assert mask.mode == "P"
    mask.save(next(release.rglob("train_2_anno.bmp")))
    import_glas(release, tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/train_2_label.png")), glands(3, 9))


def test_image_and_label_are_read_on_the_same_pixels(release: Path, tmp_path: Path) -> None:
    import_glas(release, tmp_path / "out")
    (item,) = [item for item in load_datalist(tmp_path / "out", "test") if "testA_1" in item["image"]]
    image, label = read_volume(item["image"]), read_volume(item["label"])
    check_same_geometry(image, label, "image", "label")
    np.testing.assert_array_equal(image[..., 0].numpy(), picture(5).transpose(2, 1, 0))
    np.testing.assert_array_equal(label[0, :, :, 0].numpy(), glands().T)


def test_training_and_validation_share_no_patient_and_test_stays(release: Path, tmp_path: Path) -> None:
    choices = set()
    for seed in range(6):
        path = import_glas(release, tmp_path / f"out{seed}", validation_fraction=0.4, seed=seed)
        content = json.loads(path.read_text())
        patients = {split: {item["patient"] for item in content[split]} for split in ("training", "validation")}
        assert not patients["training"] & patients["validation"]
        # Two of the five images: patient 2, or patient 5.
        assert len(content["validation"]) == 2
        assert names(path)["test"] == ["testA_1", "testB_1"]
        choices.add(frozenset(patients["validation"]))
    assert choices == {frozenset("2"), frozenset("5")}


def test_summary_says_how_many_test_images_have_a_patient_in_training(release: Path, tmp_path: Path) -> None:
    summary = format_summary(import_glas(release, tmp_path / "out")).splitlines()
    assert summary[3].split() == ["test", "2", "2", "2", "2"]
    assert summary[4] == (
        "1 of 2 test cases are of patients with training or validation cases too; the test split is the release's own."
    )


def test_a_finished_import_is_kept_and_another_fraction_refused(plain: Path, tmp_path: Path) -> None:
    path = import_glas(plain, tmp_path / "out")
    before = path.read_bytes()
    assert import_glas(plain, tmp_path / "out").read_bytes() == before
    with pytest.raises(FileExistsError, match=r"an earlier import that differs in validation_fraction\. Choose"):
        import_glas(plain, tmp_path / "out", validation_fraction=0.5)


def test_everything_that_is_wrong_is_named_at_once(release: Path, tmp_path: Path) -> None:
    (folder,) = release.iterdir()
    (folder / "train_1_anno.bmp").unlink()
    (folder / "train_2.bmp").unlink()
    for end in ("", "_anno"):
        (folder / f"train_3{end}.bmp").unlink()
    save(np.zeros((4, COLUMNS), np.uint8), folder / "train_4_anno.bmp")
    (folder / "testA_1.bmp").write_bytes(b"no image")
    save(picture(0)[..., 0], folder / "testB_1.bmp")
    save(picture(1), folder / "testB_1_anno.bmp")
    save(picture(9), folder / "train_99.bmp")
    save(glands(), folder / "train_99_anno.bmp")
    save(picture(9), folder / "train_98.bmp")
    whole = (folder / "train_10.bmp").read_bytes()
    (folder / "train_10.bmp").write_bytes(whole[:-20])
    table = (folder / "Grade.csv").read_text() + "\ntrain_1,2, benign, x\ntrain_5,, benign, x\nother_1,3, benign, x\n"
    (folder / "Grade.csv").write_text(table)
    with pytest.raises(DataError, match=r"Expected complete cases below .*Copy these files again") as caught:
        import_glas(release, tmp_path / "out")
    text = str(caught.value)
    lines = text.splitlines()[1:]
    grade = folder / "Grade.csv"
    for line in (
        f"  {grade}, line 9: train_1 is listed twice",
        f"  {grade}, line 10: expected an image of train or test, its patient and grade: "
        "['train_5', '', 'benign', 'x']",
        f"  {grade}, line 11: expected an image of train or test, its patient and grade: "
        "['other_1', '3', 'benign', 'x']",
        f"  {folder / 'train_1.bmp'} has no mask",
        f"  {folder / 'train_2_anno.bmp'} has no image",
        f"  train_3 of {grade}: image and mask are missing",
        f"  {folder / 'train_98.bmp'} has no mask and no row in {grade}",
        f"  {folder / 'train_99.bmp'} has no row in {grade}",
        f"  {folder / 'train_4_anno.bmp'} has 9 x 4 pixels, expected 9 x 6 as in train_4.bmp",
        f"  {folder / 'testB_1.bmp'} is of mode L, expected RGB",
        f"  {folder / 'testB_1_anno.bmp'} is of mode RGB, expected 1, L, P",
    ):
        assert line in lines
    for name in ("testA_1.bmp", "train_10.bmp"):
        assert any(line.startswith(f"  {folder / name} cannot be read (") for line in lines)
    assert len(lines) == 13
    assert not (tmp_path / "out").exists()


def test_a_release_without_test_images_is_complete(release: Path, tmp_path: Path) -> None:
    for path in list(release.rglob("test?_1*.bmp")):
        path.unlink()
    assert names(import_glas(release, tmp_path / "out"))["test"] == []


def test_a_release_unpacked_twice(release: Path, plain: Path, tmp_path: Path) -> None:
    save(picture(0), release / "copy/train_1.bmp")
    with pytest.raises(DataError, match=r"once, found 1 of them several times.*\n  .*train_1.bmp and .*train_1.bmp"):
        import_glas(release, tmp_path / "out")
    (plain / "more").mkdir()
    (plain / "more/metadata.csv").write_text("name\n")
    with pytest.raises(DataError, match=r"several times.*\n  .*metadata.csv and .*more/metadata.csv"):
        import_glas(plain, tmp_path / "out")


def test_folders_without_table_images_columns_or_patients(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"Expected the release's train_1.bmp.*found no table of GlaS below .*empty. Check"
    ):
        import_glas(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty/Grade.csv").write_text(HEADER)
    with pytest.raises(DataError, match=r"Expected the release's train_1.bmp.*found no image of GlaS below .*empty"):
        import_glas(tmp_path / "empty", tmp_path / "out")
    rows = (plain / "metadata.csv").read_text()
    (plain / "metadata.csv").write_text(rows.replace("patient", "person"))
    with pytest.raises(
        DataError, match=r"expected the columns name, patient, grade, found \['name', 'split', 'person'"
    ):
        import_glas(plain, tmp_path / "out")
    lines = rows.splitlines()
    one = [",".join([*line.split(",")[:2], "2", *line.split(",")[3:]]) for line in lines[1:]]
    (plain / "metadata.csv").write_text("\n".join([lines[0], *one]))
    with pytest.raises(DataError, match=r"Expected at least 2 patients, .* found 1: 2\. Give"):
        import_glas(plain, tmp_path / "out")


def test_wrong_fraction_and_seed(plain: Path, tmp_path: Path) -> None:
    for fraction in (0.0, 1.0, -0.2):
        with pytest.raises(ValueError, match=rf"validation fraction between 0 and 1, found {fraction}\. Choose"):
            import_glas(plain, tmp_path / "out", validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"integer >= 0, found -1\. Choose another seed"):
        import_glas(plain, tmp_path / "out", seed=-1)


def test_command(release: Path, tmp_path: Path) -> None:
    arguments = ["import", "glas", str(release), "--out", str(tmp_path / "out"), "--validation-fraction", "0.4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.output.splitlines()]
    counts = {row[0]: int(row[2]) for row in table if row and row[0] in ("training", "validation", "test")}
    assert counts == {"training": 3, "validation": 2, "test": 2}
