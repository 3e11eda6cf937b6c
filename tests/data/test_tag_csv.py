"""Tables of tags as people write them: read rightly whatever program wrote them, or refused by name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, load_datalist
from tests.conftest import write_volume

ARRAY = np.zeros((2, 2, 2), np.uint8)
TABLE = "image,slice,label\na.nii.gz,0,0\na.nii.gz,1,1\n"


def tags(folder: Path, table: str | bytes, *images: str, others: tuple[str, ...] = ()) -> list[list[int]]:
    """Tags of images (``a.nii.gz`` by default) whose tags are in a table."""
    images = images or ("a.nii.gz",)
    for number, name in enumerate((*images, *others)):
        write_volume(folder / name, ARRAY + number)
    (folder / "tags.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    content = {"training": [{"image": name, "slice_labels": "tags.csv"} for name in images], "test": list(others)}
    (folder / "dataset.json").write_text(json.dumps(content))
    return [item["slice_labels"] for item in load_datalist(folder, "training")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_tables_of_spreadsheets(tmp_path: Path, encoding: str, delimiter: str, ending: str) -> None:
    table = TABLE.replace("a.nii.gz", "Müller.nii.gz").replace(",", delimiter).replace("\n", ending)
    assert tags(tmp_path, table.encode(encoding), "Müller.nii.gz") == [[0, 1]]


@pytest.mark.parametrize(
    "table",
    [
        "sep=;\n" + TABLE.replace(",", ";"),
        TABLE.replace(",", " , "),
        TABLE.replace("image,slice,label", "Image, Slice ,LABEL"),
        TABLE.replace("a.nii.gz", "./a.nii.gz"),
        TABLE.replace("a.nii.gz", '"a.nii.gz"'),
        TABLE.replace(",1\n", ",1.0\n").replace(",0,", ",0.0,"),
        TABLE + ",,\n\n",
        "reader," + TABLE.replace("a.nii", "Smith,a.nii"),
        'note,image,slice,label\n"two\nlines",a.nii.gz,0,0\n,a.nii.gz,1,1\n',
        TABLE + "a.nii.gz,1,1\n",
        "image,slice,label\na.nii.gz,1,1\na.nii.gz,0,0",
    ],
)
def test_tables_of_one_meaning(tmp_path: Path, table: str) -> None:
    assert tags(tmp_path, table) == [[0, 1]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            TABLE + "a.nii.gz,1,0\n",
            "lines 3 and 4: expected one label for slice 1 of 'a.nii.gz', found 1 and 0. Keep one",
        ),
        (TABLE + "./a.nii.gz,1,0\n", "lines 3 and 4: expected one label for slice 1"),
        (TABLE + "a.nii.gz,-1,0\n", "line 4: expected slices that are counted from 0, found -1"),
        (TABLE + "a.nii.gz,1.5,0\n", "line 4: expected whole numbers for slice and label"),
        (TABLE + "a.nii.gz,1_0,0\n", "line 4: expected whole numbers for slice and label"),
        (TABLE + "a.nii.gz,nan,0\n", "line 4: expected whole numbers for slice and label"),
        (TABLE + "a.nii.gz,2,\n", "line 4: expected whole numbers for slice and label"),
        (TABLE + "a.nii.gz,2,yes\n", "line 4: expected whole numbers for slice and label"),
        (TABLE + "a.nii.gz,2,2\n", "line 4: expected a label of 0 or 1, found 2"),
        (TABLE + "a.nii.gz,2,-1\n", "line 4: expected a label of 0 or 1, found -1"),
        (TABLE + "a.nii.gz,999999999,1\n", "found no tag for slice 2 of 'a.nii.gz'"),
        (TABLE + ",2,1\n", "line 4: expected the name of an image, found none"),
        (TABLE + "a.nii.gz,2\n", r"line 4: expected 3 cells \(image,slice,label\), found 2"),
        (TABLE + "a,b.nii.gz,2,1\n", "line 4: expected 3 cells .* found 4: .* put quotes around a name"),
        (TABLE + 'a.nii.gz,"2,1\n', "line 4: expected a row of a CSV, found unexpected end of data"),
        (
            TABLE.replace("0,0\n", "2,0\n"),
            "found no tag for slice 0 .*seem to be counted from 1 .1 to 2.. Correct them: subtract 1",
        ),
        (TABLE.replace("label\n", "label,label\n"), "Expected the column 'label' once, found it 2 times in .*tags.csv"),
        (
            TABLE.replace(",", "|"),
            r"Expected the columns image,slice,label, found \['image\|slice\|label'\] in .*tags.csv",
        ),
        ("", r"Expected the columns image,slice,label, found \[\]"),
        ("image,slice,label\n", "Expected a row for the image 'a.nii.gz', found rows for none"),
        (TABLE.replace("a.nii", "b.nii"), "Expected a row for the image 'a.nii.gz', found rows for 'b.nii.gz'"),
        (TABLE.encode("utf-16-le"), "Expected text in UTF-8, found NUL characters"),
        (b"\x81\x8d" + TABLE.encode(), "found other content"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, table: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"(?=.*tags.csv).*{message}"):
        tags(tmp_path, table)


PATIENTS = ("p1/t2.nii.gz", "p2/t2.nii.gz")


def two(first: str, second: str) -> str:
    return f"image,slice,label\n{first},0,0\n{first},1,1\n{second},0,1\n{second},1,0\n"


@pytest.mark.parametrize("names", [PATIENTS, ("p1\\t2.nii.gz", "p2\\t2.nii.gz"), ("./p1/t2.nii.gz", "p2//t2.nii.gz")])
def test_rows_of_two_patients_by_path(tmp_path: Path, names: tuple[str, str]) -> None:
    assert tags(tmp_path, two(*names), *PATIENTS) == [[0, 1], [1, 0]]


@pytest.mark.parametrize("names", [("t2.nii.gz", "t2.nii.gz"), ("p1/t2.nii.gz", "t2.nii.gz")])
def test_name_of_two_patients_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    message = (
        "tags.csv: expected names that stand for one image each, found 't2.nii.gz' for 'p1/t2.nii.gz', 'p2/t2.nii.gz'"
    )
    with pytest.raises(DataError, match=message):
        tags(tmp_path, two(*names), *PATIENTS)


def test_path_goes_before_file_name(tmp_path: Path) -> None:
    assert tags(tmp_path, two("t2.nii.gz", "p2/t2.nii.gz"), "t2.nii.gz", "p2/t2.nii.gz") == [[0, 1], [1, 0]]
    with pytest.raises(DataError, match="Expected a row for the image 'p2/t2.nii.gz', found rows for 't2.nii.gz'"):
        tags(tmp_path, TABLE.replace("a.nii", "t2.nii"), "t2.nii.gz", "p2/t2.nii.gz")


def test_end_of_a_path_names_one_image(tmp_path: Path) -> None:
    names = ("site/p1/t2.nii.gz", "site/p2/t2.nii.gz")
    assert tags(tmp_path, two(*PATIENTS), *names) == [[0, 1], [1, 0]]


def test_composed_and_decomposed_letters_are_one_name(tmp_path: Path) -> None:
    assert tags(tmp_path, TABLE.replace("a.nii", "Mu\u0308ller.nii"), "M\u00fcller.nii.gz") == [[0, 1]]


def test_table_of_each_patient(tmp_path: Path) -> None:
    items = []
    for patient, labels in (("p1", "01"), ("p2", "10")):
        write_volume(tmp_path / patient / "t2.nii.gz", ARRAY)
        rows = "".join(f"t2.nii.gz,{k},{label}\n" for k, label in enumerate(labels))
        (tmp_path / patient / "tags.csv").write_text(f"image,slice,label\n{rows}")
        items.append({"image": f"{patient}/t2.nii.gz", "slice_labels": f"{patient}/tags.csv"})
    (tmp_path / "dataset.json").write_text(json.dumps({"training": items}))
    assert [item["slice_labels"] for item in load_datalist(tmp_path, "training")] == [[0, 1], [1, 0]]


def test_what_is_not_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table: Any = TABLE + "a.nii.gz,1,1\nb.nii.gz,0,1\ngone.nii.gz,0,1\n"
    with caplog.at_level(logging.WARNING, "camtools"):
        assert tags(tmp_path, table, others=("b.nii.gz",)) == [[0, 1]]
    assert "rows for 'gone.nii.gz', which dataset.json does not list, are not read" in caplog.text
    assert "line 4: slice 1 of 'a.nii.gz' is listed twice, with the same label" in caplog.text
    assert "b.nii.gz" not in caplog.text


def test_patch_tables_of_spreadsheets(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    (tmp_path / "t.csv").write_bytes("image;slice;x;y;classes\r\na.nii.gz;0;0;0;0 1\r\n".encode("utf-8-sig"))
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [{"image": "a.nii.gz", "patch_labels": "t.csv"}]}))
    assert load_datalist(tmp_path, "training")[0]["patch_labels"] == [(0, 0, 0, [0, 1])]
    for row, message in (("a.nii.gz,9,0,0,1", "found no row for slice 0 of"), ("a.nii.gz,0,0,0,x", "found 'x'")):
        (tmp_path / "t.csv").write_text(f"image,slice,x,y,classes\n{row}\n")
        with pytest.raises(DataError, match=message):
            load_datalist(tmp_path, "training")
