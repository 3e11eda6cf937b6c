"""Names of cases: unique, the same whatever other volumes there are, and never out of the folder of the results."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, Splits, case_name, list_volumes, load_datalist
from camtools.data.case_names import case_of_file, is_safe_case, output_file, with_cases
from camtools.data.slice_dataset import pseudo_label_files
from camtools.engine import DatasetCheck, SavePanel, VolumePipeline
from camtools.transforms import LoadVolumed
from tests.conftest import write_volume

ARRAY = np.zeros((2, 2, 2), np.uint8)
UNSAFE = ["/tmp/a", "../a", "p/../../a", "..", "", ".", "p//a", "p/./a", "a/", "..\\a", "a\0b", "a\ud800"]


def write_list(folder: Path, items: list[Any]) -> None:
    (folder / "dataset.json").write_text(json.dumps({"test": items}))


@pytest.mark.parametrize(
    ("path", "case"),
    [
        ("a.nii.gz", "a"),
        ("./a.nii.gz", "a"),
        ("a.NII.GZ", "a"),
        ("a.nii", "a"),
        ("a.MHA", "a"),
        ("a.png", "a"),
        ("p1/t2.nii.gz", "p1/t2"),
        ("p1__t2.nii.gz", "p1__t2"),
        ("p1//./t2.nii.gz", "p1/t2"),
        ("p1/../t2.nii.gz", "t2"),
        ("a.b.nii.gz", "a.b"),
        ("x.y.PNG", "x.y"),
        ("p/.nii.gz", "p/.nii.gz"),
        ("/data/set/p1/t2.nii.gz", "p1/t2"),
    ],
)
def test_case_is_the_path_below_the_dataset(path: str, case: str) -> None:
    assert case_of_file(path, "/data/set") == case
    assert is_safe_case(case)


def test_files_outside_get_different_names(tmp_path: Path) -> None:
    outside = ["/data/p1/t2.nii.gz", "/data/p2/t2.nii.gz", "../p3/t2.nii.gz", "../../t2.nii.gz", "/data/p1/t2.nii"]
    names = [case_of_file(path, "/data/set") for path in outside]
    assert len(set(names)) == len(names)
    assert all(name.startswith("t2") and is_safe_case(name) and "/" not in name for name in names)
    assert case_of_file("/data/p1/t2.nii.gz", "/data/set") == case_of_file("../p1/t2.nii.gz", "/data/set")
    assert case_of_file("/data/p1/t2.nii.gz") == names[0]


def test_absolute_path_through_a_link_is_inside(tmp_path: Path) -> None:
    write_volume(tmp_path / "real/p1/t2.nii.gz", ARRAY)
    (tmp_path / "linked").symlink_to("real")
    assert case_of_file(tmp_path / "real/p1/t2.nii.gz", tmp_path / "linked") == "p1/t2"


def test_both_doors_give_the_same_names(tmp_path: Path) -> None:
    names = ["a.nii", "b.nii.gz", "c.png", "d.tif", "p/x.nii.gz", "p__x.nii.gz"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    from_folder = {item["image"]: item["case"] for item in list_volumes(tmp_path)}
    write_list(tmp_path, names)
    from_list = {item["image"]: item["case"] for item in load_datalist(tmp_path, "test")}
    assert from_folder == from_list
    assert sorted(from_list.values()) == ["a", "b", "c", "d", "p/x", "p__x"]


def test_names_do_not_change_when_volumes_are_added(tmp_path: Path) -> None:
    before: dict[str, str] = {}
    for name in ("s1/t2.nii.gz", "s2/t2.nii.gz", "t2.nii.gz", "s1/t1.nii", "s1__t2.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
        now = {item["image"]: item["case"] for item in list_volumes(tmp_path)}
        assert now | before == now
        before = now


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("A.nii.gz", "a.nii.gz"),
        ("P/a.nii.gz", "p/a.nii.gz"),
        ("\u00e9.nii.gz", "e\u0301.nii.gz"),
        ("a.nii", "a.nii.gz"),
        ("a.nii.gz", "a.png"),
        ("p/a.tif", "p/a.tiff"),
    ],
)
def test_names_that_would_be_one_are_refused(tmp_path: Path, one: str, two: str) -> None:
    for number, name in enumerate((one, two)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes([number]))
    with pytest.raises(DataError, match="that no file system confuses with another, found .* would overwrite"):
        list_volumes(tmp_path)
    write_list(tmp_path, [one, two])
    with pytest.raises(DataError, match=f"found .*{one}.* and .*{two}.* would overwrite"):
        load_datalist(tmp_path, "test")


def test_cases_of_the_list(tmp_path: Path) -> None:
    for name in "ab":
        write_volume(tmp_path / f"{name}.nii.gz", ARRAY)
    write_list(tmp_path, [{"image": "a.nii.gz", "case": "p1/first"}, "b.nii.gz"])
    assert [item["case"] for item in load_datalist(tmp_path, "test")] == ["p1/first", "b"]
    write_list(tmp_path, [{"image": "a.nii.gz", "case": "b"}, "b.nii.gz"])
    with pytest.raises(DataError, match="found 'b' for"):
        load_datalist(tmp_path, "test")


@pytest.mark.parametrize("case", [*UNSAFE, 7, None, ["a"]])
def test_cases_that_are_no_names_are_refused(tmp_path: Path, case: Any) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    write_list(tmp_path, [{"image": "a.nii.gz", "case": case}])
    with pytest.raises(DataError, match=r"test\[0\] \(a.nii.gz\): expected under 'case' a name such as 'p1/t2'"):
        load_datalist(tmp_path, "test")


@pytest.mark.parametrize("case", UNSAFE[:4] + UNSAFE[6:])
def test_no_output_leaves_its_folder(tmp_path: Path, case: str) -> None:
    item = {"image": write_volume(tmp_path / "a.nii.gz", ARRAY), "case": case}
    panel = SavePanel(tmp_path / "out", Splits(test=[item]))
    pipeline = VolumePipeline("test", [item], [], {"pred": ".nii.gz"}, tmp_path / "out")
    data = LoadVolumed("image")(item) | {"slice_labels": [0, 1]}
    writers: list[Any] = [pipeline.run, lambda: panel(data), lambda: pseudo_label_files(tmp_path / "out", item)]
    for write in [*writers, lambda: output_file(tmp_path / "out", case, ".nii.gz")]:
        with pytest.raises(DataError, match="Expected as name of a case a relative path below"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("cases", "outputs", "message"),
    [
        (("a", "a_cam"), {"cam": "_cam.nii.gz", "pred": ".nii.gz"}, "expected one file per output"),
        (("a", "A"), {"pred": ".nii.gz"}, "expected one file per output"),
        (("a", "a.nii.gz/b"), {"pred": ".nii.gz"}, "would be the file of .* and the folder of"),
    ],
)
def test_two_outputs_are_never_one_file(tmp_path: Path, cases: Any, outputs: dict[str, str], message: str) -> None:
    items = [{"image": write_volume(tmp_path / f"{k}.nii.gz", ARRAY), "case": case} for k, case in enumerate(cases)]
    with pytest.raises(DataError, match=message):
        VolumePipeline("test", items, [], outputs, tmp_path / "out").run()


def test_input_is_never_overwritten(tmp_path: Path) -> None:
    write_volume(tmp_path / "predictions/a.nii.gz", ARRAY)
    items = list_volumes(tmp_path / "predictions")
    with pytest.raises(DataError, match="is an input file, which would be overwritten. Choose an output_dir outside"):
        VolumePipeline("test", items, [], {"pred": ".nii.gz"}, tmp_path / "predictions").run()


def test_items_without_a_case() -> None:
    items = with_cases([{"image": "/x/p1/t2.nii.gz"}, {"image": "/x/p2/t2.nii.gz"}, {"image": "/x/a.nii", "case": "b"}])
    assert len({item["case"] for item in items}) == 3
    assert items[2]["case"] == case_name(items[2]) == "b"
    with pytest.raises(DataError, match="found 'b' for /x/a.nii and /y/a.nii"):
        with_cases([{"image": "/x/a.nii", "case": "b"}, {"image": "/y/a.nii", "case": "b"}])


def test_copies_under_another_name_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    for name, array in (("a.nii.gz", image), ("copy.nii", image), ("other.nii.gz", image + 1)):
        write_volume(tmp_path / name, array)
    content = {"training": [{"image": name, "slice_labels": [0, 1]} for name in ("a.nii.gz", "other.nii.gz")]}
    (tmp_path / "dataset.json").write_text(json.dumps(content | {"test": ["copy.nii"]}))
    splits = {split: load_datalist(tmp_path, split) for split in ("training", "test")}
    with caplog.at_level(logging.WARNING, "camtools"):
        DatasetCheck(Splits(**splits), tmp_path / "out").run()
    (message,) = [record.getMessage() for record in caplog.records]
    assert "copy.nii (test) holds the same voxels as" in message
    assert "a.nii.gz (training)" in message


def test_two_volumes_of_one_case_fail_the_check(tmp_path: Path) -> None:
    items = [
        {"image": write_volume(tmp_path / f"{k}.nii.gz", ARRAY + k), "case": "a", "slice_labels": [0, 1]}
        for k in (0, 1)
    ]
    with pytest.raises(DataError, match="found 'a' for .*0.nii.gz and .*1.nii.gz"):
        DatasetCheck(Splits(items), tmp_path / "out").run()
