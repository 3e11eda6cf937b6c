"""The file dataset.json: what it may contain, and every problem named at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from camtools.data import DataError, load_datalist
from tests.conftest import write_volume
from tests.data.test_datalist import ARRAY, listed, write_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"Expected valid JSON, found an error in line 1"),
        ("[]", r"Expected a JSON object with lists of volumes, found list"),
        ({"training": []}, r"Expected items under 'training'.*found the keys \['training'\]"),
        (
            {"training": [{"image": ["a_0000.nii.gz", "a_0001.nii.gz"]}]},
            r"one image under 'image', found a list of 2 entries\. Write one 4D NIfTI file .*camtools channels FOLDER",
        ),
        ({"training": [{"label": "a.nii.gz"}]}, r"expected an 'image', found the keys"),
        (
            {"training": [{"image": "gone.nii.gz"}]},
            r"a file for the image 'gone.nii.gz' .*gone.nii.gz does not exist",
        ),
    ],
)
def test_bad_dataset_json_is_named(tmp_path: Path, content: Any, message: str) -> None:
    write_json(tmp_path, content)
    with pytest.raises(DataError, match=message):
        load_datalist(tmp_path, "training")


@pytest.mark.parametrize("value", [None, 3, "train.txt", {"image": "a.nii.gz"}])
@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_splits_that_are_no_lists_are_refused(tmp_path: Path, split: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"dataset.json: expected a list of volumes under '{split}', found"):
        listed(tmp_path, {"training": ["a.nii.gz"], split: value})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("testing", "test"),
        ("val", "validation"),
        ("Validation", "validation"),
        ("train", "training"),
        ("trainning", "training"),
        ("Test ", "test"),
        ("valid", "validation"),
        ("test_set", "test"),
        ("val_data", "validation"),
    ],
)
def test_unknown_split_names_its_near_one(tmp_path: Path, name: str, near: str) -> None:
    content = {"training": ["a.nii.gz"], name: ["b.nii.gz"]}
    with pytest.raises(DataError, match=rf"unknown split '{name}', which would be ignored.*Did you mean '{near}'"):
        listed(tmp_path, content)


def test_list_of_volumes_under_any_other_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found a list of volumes under 'unlabelled', which would be ignored"):
        listed(tmp_path, {"training": ["a.nii.gz"], "unlabelled": [{"image": "b.nii.gz"}]})


def test_metadata_of_other_tools_is_no_split(tmp_path: Path) -> None:
    content = {"name": "Task", "description": "testing of things", "reference": "x", "licence": "CC", "release": "1.0"}
    content |= {
        "tensorImageSize": "3D",
        "modality": {"0": "MR"},
        "labels": {"0": "background"},
        "file_ending": ".nii.gz",
    }  # type: ignore[dict-item]
    content |= {"numTraining": 1, "numTest": 1, "channel_names": {"0": "T2"}, "skipped": ["case_7"], "testing": []}  # type: ignore[dict-item]
    items = listed(
        tmp_path, content | {"training": [{"image": "./a.nii.gz", "label": "./m.nii.gz"}], "test": ["./b.nii.gz"]}
    )
    assert [item["case"] for item in items] == ["a"]
    assert [item["case"] for item in load_datalist(tmp_path, "test")] == ["b"]


def test_other_keys_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"training": [{"image": "a.nii.gz", "site": "x", "patient": "p"}, {"image": "b.nii.gz", "site": "y"}]}
    with caplog.at_level(logging.WARNING, "camtools"):
        listed(tmp_path, content)
        listed(tmp_path, content)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/dataset.json: the key 'site' of 2 items is not read"
    ]


@pytest.mark.parametrize(
    "again", ["a.nii.gz", "./a.nii.gz", "sub/../a.nii.gz", "link.nii.gz", "hard.nii.gz", "ABSOLUTE"]
)
@pytest.mark.parametrize("split", ["training", "test"])
def test_volume_that_is_listed_twice_is_refused(tmp_path: Path, again: str, split: str) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.nii.gz").symlink_to("a.nii.gz")
    (tmp_path / "hard.nii.gz").hardlink_to(tmp_path / "a.nii.gz")
    content: dict[str, Any] = {"training": [{"image": "a.nii.gz"}]}
    content.setdefault(split, []).append({"image": str(tmp_path / "a.nii.gz") if again == "ABSOLUTE" else again})
    write_json(tmp_path, content)
    with pytest.raises(
        DataError, match=rf"{split}\[.\] .*every volume once in all splits, found the file of .*training\[0\]"
    ):
        load_datalist(tmp_path, "validation")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"training": [], "training": ["a.nii.gz"]}', "expected every key of an object once, found 'training'"),
        (
            b'{"training": [{"image": "a.nii.gz", "slice_labels": [NaN, 1]}]}',
            "expected numbers that are JSON, found NaN",
        ),
        (b'{"training": ["a.nii.gz",]}', "Remove the comma after the last entry"),
        (b'{"training": ["a\xff.nii.gz"]}', "Expected text in UTF-8"),
        (b'{"training": ' + b"[" * 100_000, "maximum recursion"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=f"(?=.*dataset.json).*{message}"):
        load_datalist(tmp_path, "training")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_json(tmp_path: Path, encoding: str) -> None:
    write_volume(tmp_path / "Müller.nii.gz", ARRAY)
    (tmp_path / "dataset.json").write_bytes(
        json.dumps({"test": ["Müller.nii.gz"]}, ensure_ascii=False).encode(encoding)
    )
    assert [item["case"] for item in load_datalist(tmp_path, "test")] == ["Müller"]
