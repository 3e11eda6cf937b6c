from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, case_name, list_volumes, load_datalist, volumes_in
from camtools.data.datalist import image_stem
from tests.conftest import write_volume

ARRAY = np.zeros((2, 2, 2), np.uint8)


def write_json(folder: Path, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_items_have_absolute_paths_and_their_own_tags(blob_dataset: Path) -> None:
    items = load_datalist(blob_dataset, "training")
    assert [item["case"] for item in items] == ["case_0", "case_1", "case_2"]
    assert all(Path(item["image"]).is_absolute() and Path(item["label"]).is_file() for item in items)
    assert all("label" not in item for item in load_datalist(blob_dataset, "training", labels=False))


def test_absent_split_is_empty(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    write_json(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": [0, 1]}]})
    assert load_datalist(tmp_path, "test") == []
    assert load_datalist(tmp_path, "training")[0]["slice_labels"] == [0, 1]


def test_case_names_stay_unique_over_folders_and_splits(tmp_path: Path) -> None:
    for name in ("sub-1/t2.nii.gz", "sub-2/t2.nii.gz", "other.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
    write_json(tmp_path, {"training": ["sub-1/t2.nii.gz", "other.nii.gz"], "test": [{"image": "sub-2/t2.nii.gz"}]})
    assert [item["case"] for item in load_datalist(tmp_path, "training")] == ["sub-1__t2", "other"]
    assert load_datalist(tmp_path, "test")[0]["case"] == "sub-2__t2"


def test_tags_from_csv(tmp_path: Path) -> None:
    write_volume(tmp_path / "images/a.nii.gz", ARRAY)
    (tmp_path / "tags.csv").write_text("image,slice,label\na.nii.gz,1,1\na.nii.gz,0,0\n")
    write_json(tmp_path, {"training": [{"image": "images/a.nii.gz", "slice_labels": "tags.csv"}]})
    assert load_datalist(tmp_path, "training")[0]["slice_labels"] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,slice\na.nii.gz,0\n", r"must have the columns image,slice,label; found \['image', 'slice'\]"),
        ("image,slice,label\na.nii.gz,zero,1\n", r"line 2: slice and label must be whole numbers"),
        ("image,slice,label\nb.nii.gz,0,1\n", r"has no row for the image 'a.nii.gz'"),
        ("image,slice,label\na.nii.gz,0,1\na.nii.gz,2,1\n", r"has no tag for slice 1 of 'a.nii.gz'"),
    ],
)
def test_bad_csv_is_named(tmp_path: Path, rows: str, message: str) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    (tmp_path / "tags.csv").write_text(rows)
    write_json(tmp_path, {"training": [{"image": "a.nii.gz", "slice_labels": "tags.csv"}]})
    with pytest.raises(DataError, match=message):
        load_datalist(tmp_path, "training")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"dataset.json is not valid JSON \(line 1"),
        ("[]", r"must hold a JSON object with lists of volumes, found list"),
        ({"training": []}, r"lists no volumes: expected items under 'training'.*found the keys \['training'\]"),
        ({"training": [{"label": "a.nii.gz"}]}, r"has no 'image'"),
        ({"training": [{"image": "gone.nii.gz"}]}, r"names the image 'gone.nii.gz', but .* does not exist"),
    ],
)
def test_bad_dataset_json_is_named(tmp_path: Path, content: Any, message: str) -> None:
    write_json(tmp_path, content)
    with pytest.raises(DataError, match=message):
        load_datalist(tmp_path, "training")


def test_missing_dataset_json_and_unknown_split(tmp_path: Path, blob_dataset: Path) -> None:
    with pytest.raises(DataError, match="found no such file. Write it in the Medical Segmentation Decathlon layout"):
        load_datalist(tmp_path / "nowhere", "training")
    with pytest.raises(DataError, match=r"Unknown split 'train': expected one of \['test', 'training', 'validation'\]"):
        load_datalist(blob_dataset, "train")


def test_folder_of_volumes_keeps_sub_folders(tmp_path: Path) -> None:
    for name in ("b/x.nii.gz", "a/x.nii", "c.nii.gz", "c.nii"):
        write_volume(tmp_path / name, ARRAY)
    (tmp_path / "notes.txt").write_text("not an image")
    assert [item["case"] for item in list_volumes(tmp_path)] == ["a/x", "b/x", "c.nii", "c.nii.gz"]


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected a folder of volumes, found none"):
        list_volumes(tmp_path / "gone")
    with pytest.raises(DataError, match="No image below .* expected files that end in one of .nii.gz"):
        list_volumes(tmp_path)


def test_volumes_in_prefers_the_test_split(blob_dataset: Path) -> None:
    assert [item["case"] for item in volumes_in(blob_dataset)] == ["case_5", "case_6"]
    assert len(volumes_in(blob_dataset / "images")) == 7


def test_stems_and_case_names() -> None:
    assert image_stem("/x/a.b.nii.gz") == "a.b"
    assert image_stem("scan.PNG") == "scan"
    assert image_stem("scan.dcm") == "scan"
    assert case_name({"image": "/x/a.nii"}) == "a"
    assert case_name({"image": "/x/a.nii", "case": "b"}) == "b"
