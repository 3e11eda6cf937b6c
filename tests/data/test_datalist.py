"""Lists of volumes: items of dataset.json with their files and tags, and plain folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, list_volumes, load_datalist, read_volume, volumes_in
from tests.conftest import write_volume

ARRAY = np.zeros((2, 2, 2), np.uint8)


def write_json(folder: Path, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_items_have_absolute_paths_and_their_own_tags(blob_dataset: Path) -> None:
    items = load_datalist(blob_dataset, "training")
    assert [item["case"] for item in items] == [f"images/case_{k}" for k in range(3)]
    assert all(Path(item["image"]).is_absolute() and Path(item["label"]).is_file() for item in items)
    assert all("label" not in item for item in load_datalist(blob_dataset, "training", labels=False))


def test_the_patient_is_kept_where_it_is_given(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
    write_json(tmp_path, {"validation": [{"image": "a.nii.gz", "patient": 7}, {"image": "b.nii.gz"}]})
    first, second = load_datalist(tmp_path, "validation")
    assert first["patient"] == "7"
    assert "patient" not in second


def test_absent_split_is_empty(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    write_json(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": [0, 1]}]})
    assert load_datalist(tmp_path, "test") == []
    assert load_datalist(tmp_path, "training")[0]["slice_labels"] == [0, 1]


def test_case_names_stay_unique_over_folders_and_splits(tmp_path: Path) -> None:
    for name in ("sub-1/t2.nii.gz", "sub-2/t2.nii.gz", "other.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
    write_json(tmp_path, {"training": ["sub-1/t2.nii.gz", "other.nii.gz"], "test": [{"image": "sub-2/t2.nii.gz"}]})
    assert [item["case"] for item in load_datalist(tmp_path, "training")] == ["sub-1/t2", "other"]
    assert load_datalist(tmp_path, "test")[0]["case"] == "sub-2/t2"


def test_tags_from_csv(tmp_path: Path) -> None:
    write_volume(tmp_path / "images/a.nii.gz", ARRAY)
    (tmp_path / "tags.csv").write_text("image,slice,label\na.nii.gz,1,1\na.nii.gz,0,0\n")
    write_json(tmp_path, {"training": [{"image": "images/a.nii.gz", "slice_labels": "tags.csv"}]})
    assert load_datalist(tmp_path, "training")[0]["slice_labels"] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,slice\na.nii.gz,0\n", r"Expected the columns image,slice,label, found \['image', 'slice'\]"),
        ("image,slice,label\na.nii.gz,zero,1\n", r"line 2: expected whole numbers for slice and label"),
        ("image,slice,label\nb.nii.gz,0,1\n", r"Expected a row for the image 'a.nii.gz'"),
        ("image,slice,label\na.nii.gz,0,1\na.nii.gz,2,1\n", r"found no tag for slice 1 of 'a.nii.gz'"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, rows: str, message: str) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    (tmp_path / "tags.csv").write_text(rows)
    write_json(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": "tags.csv"}]})
    with pytest.raises(DataError, match=message):
        load_datalist(tmp_path, "training")


def test_missing_dataset_json_and_unknown_split(tmp_path: Path, blob_dataset: Path) -> None:
    with pytest.raises(DataError, match="found no such file. Write it in the Medical Segmentation Decathlon layout"):
        load_datalist(tmp_path / "nowhere", "training")
    with pytest.raises(DataError, match=r"Expected one of the splits training, validation, test, found 'train'"):
        load_datalist(blob_dataset, "train")


def test_folder_of_volumes_keeps_sub_folders(tmp_path: Path) -> None:
    for name in ("b/x.nii.gz", "a/x.nii", "c.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
    (tmp_path / "notes.txt").write_text("not an image")
    assert [item["case"] for item in list_volumes(tmp_path)] == ["a/x", "b/x", "c"]


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected a folder of volumes, found none"):
        list_volumes(tmp_path / "gone")
    with pytest.raises(DataError, match="Expected files that end in one of .nii.gz.* found none below"):
        list_volumes(tmp_path)


def test_volumes_in_prefers_the_test_split(blob_dataset: Path) -> None:
    assert [item["case"] for item in volumes_in(blob_dataset)] == ["images/case_5", "images/case_6"]
    assert len(volumes_in(blob_dataset / "images")) == 7


def test_volumes_in_takes_one_image(blob_dataset: Path) -> None:
    image = blob_dataset / "images/case_5.nii.gz"
    assert volumes_in(image) == [{"image": str(image), "case": "case_5"}]
    with pytest.raises(DataError, match="Expected a folder of volumes, found none at .*dataset.json"):
        volumes_in(blob_dataset / "dataset.json")


def listed(folder: Path, content: Any, split: str = "training") -> list[dict[str, Any]]:
    for name in ("a.nii.gz", "b.nii.gz", "m.nii.gz"):
        write_volume(folder / name, ARRAY)
    return load_datalist(write_json(folder, content), split)


@pytest.mark.parametrize(
    "value", [1, None, 0.5, "", [], {"0": 1}, [0, None], [0, "1"], [0, 2], [[0, 1]], [0, 0.5], [-1, 0]]
)
def test_tags_that_are_none_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        DataError, match=r"dataset.json, training\[0\] \(a.nii.gz\): expected .*, found .*Correct 'slice_labels'"
    ):
        listed(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": value}]})


@pytest.mark.parametrize("value", [[0, 1], [False, True], [0.0, 1.0]])
def test_tags_of_one_meaning_are_read(tmp_path: Path, value: Any) -> None:
    (item,) = listed(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": value}]})
    assert [(type(tag), tag) for tag in item["slice_labels"]] == [(int, 0), (int, 1)]


@pytest.mark.parametrize("key", ["label", "patch_labels", "image"])
@pytest.mark.parametrize("value", [1, None, True, "", ["m.nii.gz"], {"path": "m.nii.gz"}, "a\0b", "\ud800"])
def test_what_is_no_file_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    content = {"test": [{"image": "b.nii.gz"}, {"image": "a.nii.gz", key: value}]}
    with pytest.raises(
        DataError, match=rf"dataset.json, test\[1\].*: expected the path of one .* under '{key}', found"
    ):
        listed(tmp_path, content, "training")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("slice_label", "slice_labels"),
        ("lable", "label"),
        ("mask", "label"),
        ("Label", "label"),
        ("seg", "label"),
        ("tags", "slice_labels"),
        ("patch_label", "patch_labels"),
        ("img", "image"),
    ],
)
def test_unknown_key_names_its_near_one(tmp_path: Path, key: str, near: str) -> None:
    with pytest.raises(DataError, match=rf"unknown key '{key}', which would be ignored.*Did you mean '{near}'"):
        listed(tmp_path, {"training": [{"image": "a.nii.gz", key: "m.nii.gz"}]})


def test_mask_that_is_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training\[0\].*expected a mask under 'label', found the image itself"):
        listed(tmp_path, {"training": [{"image": "a.nii.gz", "label": "./a.nii.gz"}]})


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "m.nii.gz").mkdir()
    content = [{"image": "gone.nii.gz", "label": "m.nii.gz"}, {"image": "sub\\b.nii.gz", "slice_labels": "gone.csv"}]
    with pytest.raises(DataError) as failure:
        load_datalist(write_json(tmp_path, {"training": content}), "training")
    lines = str(failure.value).splitlines()
    assert lines[0] == f"{tmp_path / 'dataset.json'} has 4 problems:"
    expected = [
        "gone.nii.gz does not exist",
        "m.nii.gz is a folder",
        "with / between folders",
        "gone.csv does not exist",
    ]
    assert [text for text, line in zip(expected, lines[1:], strict=True) if text not in line] == []


@pytest.mark.parametrize("content", [{"training": ["a.nii.gz"]}, {"training": ["a.nii.gz"], "test": []}])
def test_inference_without_a_test_split_is_refused(tmp_path: Path, content: Any) -> None:
    listed(tmp_path, content)
    with pytest.raises(DataError, match="Expected items under 'test' to segment, found none in .*dataset.json"):
        volumes_in(tmp_path)


def test_broken_link_in_a_list_is_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to("annex/objects/a")
    items = load_datalist(write_json(tmp_path, {"test": ["a.nii.gz"]}), "test")
    with pytest.raises(DataError, match=r"found a broken link: annex/objects/a does not exist. Fetch the file"):
        read_volume(items[0]["image"])


def test_link_to_a_file_without_a_suffix_keeps_its_name(tmp_path: Path) -> None:
    Path(write_volume(tmp_path / "blob.nii.gz", ARRAY)).rename(tmp_path / "blob")
    (tmp_path / "a.nii.gz").symlink_to("blob")
    items = load_datalist(write_json(tmp_path, {"test": ["a.nii.gz"]}), "test")
    assert read_volume(items[0]["image"]).shape == (1, 2, 2, 2)


def test_a_bundle_without_a_folder_asks_for_one() -> None:
    with pytest.raises(
        DataError, match=r"Expected a folder with dataset\.json, found none\. Give it with --dataset_dir"
    ):
        load_datalist(None, "training")
