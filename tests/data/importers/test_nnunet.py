"""Import of nnU-Net's raw datasets: channel and classes by name, test split, and every way a folder can be wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import DataError, Splits, load_datalist
from camtools.data.importers import Choices, import_nnunet
from camtools.engine.check import DatasetCheck
from tests.data.importers import releases

PATIENT = r"^([a-z]+)_"
T1 = Choices("T1", patient=PATIENT)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return releases.nnunet(tmp_path / "Dataset001_Brain")


@pytest.mark.parametrize("channel", ["T1", "t1", "1", "0001"])
def test_the_image_is_the_chosen_channel(source: Path, tmp_path: Path, channel: str) -> None:
    items = releases.items_of(import_nnunet(source, tmp_path / "out", Choices(channel)))
    assert len(items) == 6
    assert os.path.samefile(items["a_1_image.nii.gz"]["image"], source / "imagesTr" / "a_1_0001.nii.gz")


@pytest.mark.parametrize(("wanted", "numbers"), [("all", (0, 1)), ("FLAIR,T1", (0, 1)), ("0001, FLAIR", (1, 0))])
def test_several_channels_become_one_file(source: Path, tmp_path: Path, wanted: str, numbers: tuple[int, int]) -> None:
    path = import_nnunet(source, tmp_path / "out", Choices(wanted))
    image = releases.voxels(releases.items_of(path)["a_1_image.nii.gz"]["image"])
    for place, number in enumerate(numbers):
        channel = releases.voxels(source / "imagesTr" / f"a_1_{number:04d}.nii.gz")
        np.testing.assert_array_equal(image[..., place], channel)
    names = json.loads(path.read_text())["channel_names"]
    assert names == {str(place): ("FLAIR", "T1")[number] for place, number in enumerate(numbers)}


def test_every_missing_channel_is_named(source: Path, tmp_path: Path) -> None:
    (source / "imagesTr" / "b_1_0001.nii.gz").unlink()
    (source / "imagesTr" / "c_1_0000.nii.gz").unlink()
    found = r"(?s)b_1_0001.nii.gz is missing.*c_1_0000.nii.gz is missing"
    with pytest.raises(DataError, match=found):
        import_nnunet(source, tmp_path / "out", Choices("all"))


@pytest.mark.parametrize(
    ("classes", "values"),
    [(None, (1, 2, 3)), ("whole", (1, 2)), ("Core", (2,)), ("1, cyst", (1, 3)), ("3", (3,))],
)
def test_the_object_is_the_chosen_classes(
    source: Path, tmp_path: Path, classes: str | None, values: tuple[int, ...]
) -> None:
    path = import_nnunet(source, tmp_path / "out", Choices("T1", classes))
    item = releases.items_of(path)["b_2_image.nii.gz"]
    np.testing.assert_array_equal(releases.voxels(item["label"]), np.isin(releases.labels(), values))
    listed = ", ".join(map(str, values))
    assert f"(the labels {listed} of the source)" in json.loads(path.read_text())["description"]


def test_patients_stay_together_and_the_dataset_passes_the_check(source: Path, tmp_path: Path) -> None:
    path = import_nnunet(source, tmp_path / "out", T1)
    content = json.loads(path.read_text())
    groups = [{item["patient"] for item in content[split]} for split in ("training", "validation", "test")]
    assert sorted(map(len, groups)) == [1, 1, 1]
    assert set.union(*groups) == {"a", "b", "c"}
    assert str(tmp_path) not in path.read_text()
    splits = {name: load_datalist(path.parent, name) for name in ("training", "validation", "test")}
    DatasetCheck(Splits(**splits), tmp_path / "run", workers=1).run()


def test_version_1_with_one_channel(tmp_path: Path) -> None:
    source = tmp_path / "Task001_Liver"
    releases.write_json(source, modality={"0": "CT"}, labels={"0": "background", "1": "liver", "2": "a", "3": "b"})
    for case in ("x1", "x2", "x3"):
        releases.nnunet_case(source, case, channels=1)
    path = import_nnunet(source, tmp_path / "out", Choices(classes="liver"))
    content = json.loads(path.read_text())
    assert (content["labels"]["1"], content["import"]["modality"]) == ("liver", "CT")
    assert content["training"][0]["positive_slices"] == 1


def test_labelled_test_cases_are_the_test_split(source: Path, tmp_path: Path) -> None:
    releases.nnunet_case(source, "t_1", "Ts")
    releases.nnunet_case(source, "t_2", "Ts", label=False)
    arguments = ["import", "nnunet", str(source), "--output-dir", str(tmp_path / "out"), "--channel", "FLAIR"]
    result = CliRunner().invoke(app, [*arguments, "--patient", PATIENT])
    assert result.exit_code == 0, result.output
    assert "Skipped 1 cases without a segmentation: t_2" in result.output
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [item["image"] for item in content["test"]] == ["t_1_image.nii.gz"]
    assert [len(content[split]) for split in ("training", "validation")] == [4, 2]


def test_colour_pictures(tmp_path: Path) -> None:
    source = tmp_path / "Dataset120_Road"
    releases.write_json(
        source,
        channel_names={"0": "R", "1": "G", "2": "B"},
        labels={"background": 0, "road": 1},
        file_ending=".png",
    )
    mask = np.zeros((4, 7), np.uint8)
    mask[1, 5] = 1
    for folder in ("imagesTr", "labelsTr"):
        (source / folder).mkdir()
    for case in ("r1", "r2", "r3"):
        Image.fromarray(np.full((4, 7, 3), 9, np.uint8)).save(source / "imagesTr" / f"{case}_0000.png")
        Image.fromarray(mask).save(source / "labelsTr" / f"{case}.png")
    item = releases.items_of(import_nnunet(source, tmp_path / "out"))["r2_image.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(item["label"])), mask)
    assert Image.open(item["image"]).size == (7, 4)


def test_files_that_are_missing_are_all_named(source: Path, tmp_path: Path) -> None:
    (source / "labelsTr" / "a_1.nii.gz").unlink()
    (source / "imagesTr" / "b_1_0001.nii.gz").unlink()
    for channel in range(2):
        (source / "imagesTr" / f"c_1_{channel:04d}.nii.gz").unlink()
    with pytest.raises(DataError, match=r"Expected complete cases below .*Dataset001_Brain") as caught:
        import_nnunet(source, tmp_path / "out", T1)
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip().replace(f"{source}/", "") for line in lines] == [
        "imagesTr/a_1 has no label labelsTr/a_1.nii.gz",
        "imagesTr/b_1_0001.nii.gz is missing",
        "labelsTr/c_1.nii.gz has no image imagesTr/c_1_0001.nii.gz",
    ]
    assert not (tmp_path / "out").exists()


def test_channels_and_classes_that_do_not_exist(source: Path, tmp_path: Path) -> None:
    listed = r"FLAIR \(0000\), T1 \(0001\)"
    with pytest.raises(
        ValueError,
        match=rf"the images have 2, found none\. Choose .* such as --channel 0000 or --channel all: {listed}\.",
    ):
        import_nnunet(source, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"Expected one of the channels {listed}, found 'T2'\. Choose from them"):
        import_nnunet(source, tmp_path / "out", Choices("T2"))
    with pytest.raises(ValueError, match=r"classes out of oedema \(1\), .*whole \(1, 2\), found 'liver'\. Choose from"):
        import_nnunet(source, tmp_path / "out", Choices("T1", "core,liver"))


def test_a_channel_twice(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected every channel once, found 'T1,1'\. Name each one once: FLAIR"):
        import_nnunet(source, tmp_path / "out", Choices("T1,1"))


def test_a_fold_of_the_release(source: Path, tmp_path: Path) -> None:
    releases.nnunet_case(source, "t_1", "Ts")
    folds = [{"train": ["a_1", "a_2"], "val": ["b_1"]}, {"train": ["b_1", "b_2", "c_2"], "val": ["a_1", "a_2"]}]
    (source / "splits_final.json").write_text(json.dumps(folds))
    content = json.loads(import_nnunet(source, tmp_path / "first", Choices("T1")).read_text())
    found = {name: [item["patient"] for item in content[name]] for name in ("training", "validation", "test")}
    assert found == {"training": ["a_1", "a_2"], "validation": ["b_1"], "test": ["t_1"]}
    arguments = ["import", "nnunet", str(source), "--out", str(tmp_path / "second"), "--channel", "T1"]
    result = CliRunner().invoke(app, [*arguments, "--fold", "1", "--patient", PATIENT])
    assert result.exit_code == 0, result.output
    assert "Skipped 1 cases without a segmentation or not in the fold: c_1" in result.output
    again = CliRunner().invoke(app, [*arguments, "--fold", "0"])
    assert "found an earlier import that differs in" in again.output


def test_a_file_of_folds_elsewhere(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a_1"], "val": ["b_1", "a_2"]}]))
    content = json.loads(import_nnunet(source, tmp_path / "out", Choices("T1", splits_file=path)).read_text())
    assert [len(content[name]) for name in ("training", "validation", "test")] == [1, 2, 0]
    with pytest.raises(DataError, match=r"training or in validation, found 1 in both: a\. Correct --patient, choose"):
        import_nnunet(source, tmp_path / "other", Choices("T1", patient=PATIENT, splits_file=path))


def test_channels_of_colour_pictures_are_not_joined(tmp_path: Path) -> None:
    names = {"0": "a", "1": "b"}
    releases.write_json(tmp_path / "s", channel_names=names, labels={"x": 1}, file_ending=".png")
    for folder, name in (("imagesTr", "c_0000.png"), ("imagesTr", "c_0001.png"), ("labelsTr", "c.png")):
        (tmp_path / "s" / folder).mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 7), np.uint8)).save(tmp_path / "s" / folder / name)
    with pytest.raises(ValueError, match=r"Expected one channel of images that are .png files, found 'all'\. Choose"):
        import_nnunet(tmp_path / "s", tmp_path / "out", Choices("all"))


def test_a_case_in_both_parts(source: Path, tmp_path: Path) -> None:
    releases.nnunet_case(source, "a_1", "Ts")
    with pytest.raises(DataError, match=r"a_1 is in imagesTr and in imagesTs"):
        import_nnunet(source, tmp_path / "out", T1)


def test_no_images(source: Path, tmp_path: Path) -> None:
    content = json.loads((source / "dataset.json").read_text()) | {"file_ending": ".mha"}
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"imagesTr/CASE_0000\.mha, found none in .*\. Check the path, and \"file_ending"
    ):
        import_nnunet(source, tmp_path / "out", T1)


def test_broken_links_are_named(source: Path, tmp_path: Path) -> None:
    path = source / "labelsTr" / "b_1.nii.gz"
    path.unlink()
    path.symlink_to("gone")
    with pytest.raises(
        DataError, match=r"found links to missing files.*\n.*labelsTr/b_1.nii.gz is a broken link: gone"
    ):
        import_nnunet(source, tmp_path / "out", T1)


def test_images_with_several_volumes(source: Path, tmp_path: Path) -> None:
    releases.save(source / "imagesTr" / "b_1_0001.nii.gz", releases.picture(0, (*releases.SHAPE, 2)))
    with pytest.raises(DataError, match=r"Expected one 3D volume .*, found 4D data .* in .*b_1_0001.nii.gz"):
        import_nnunet(source, tmp_path / "out", T1)
