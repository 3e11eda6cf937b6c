"""Folders of volumes: links are followed, other files than data are skipped, nothing is dropped silently."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, list_volumes, read_volume, volumes_in
from camtools.data.folders import files_below
from camtools.data.importers import import_brats, import_glas, import_lgg
from camtools.engine import VolumePipeline, VolumesFailedError
from camtools.engine.manifest import digest_unread
from camtools.transforms import LoadVolumed
from tests.conftest import write_volume

ARRAY = np.zeros((2, 2, 2), np.uint8)


def cases(folder: Path) -> list[str]:
    return [item["case"] for item in volumes_in(folder)]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    write_volume(tmp_path / "data/p1/a.nii.gz", ARRAY)
    write_volume(tmp_path / "disk/p2/b.nii.gz", ARRAY)
    data = tmp_path / "data"
    (data / "p2").symlink_to(tmp_path / "disk/p2")
    (tmp_path / "disk/p2/loop").symlink_to(data)
    (data / "all").symlink_to(data)
    (data / "again").symlink_to(data / "p1")
    assert cases(data) == ["p1/a", "p2/b"]
    (tmp_path / "linked").symlink_to(data)
    assert cases(tmp_path / "linked") == ["p1/a", "p2/b"]


@pytest.mark.parametrize(
    "name",
    [
        "._a.nii.gz",
        ".a.nii.gz",
        "__MACOSX/a.nii.gz",
        "__MACOSX/p/._a.nii.gz",
        ".git/annex/a.nii.gz",
        "@eaDir/a.png",
        ".DS_Store",
        "Thumbs.db",
        "lost+found/a.nii",
        "p/.part-0123-a.nii.gz",
    ],
)
def test_files_of_the_system_are_no_volumes(tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    assert cases(tmp_path) == ["a"]
    assert [path.name for path in files_below(tmp_path)] == ["a.nii.gz"]


def test_hidden_folder_may_be_asked_for(tmp_path: Path) -> None:
    write_volume(tmp_path / ".cache/a.nii.gz", ARRAY)
    assert cases(tmp_path / ".cache") == ["a"]


def test_folder_with_the_name_of_a_volume_is_a_folder(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii/0001.nii.gz", ARRAY)
    assert cases(tmp_path) == ["scan.nii/0001"]


@pytest.mark.parametrize("name", ["A.NII.GZ", "A.NII", "A.PNG", "a.Tiff", "A.NRRD"])
def test_suffixes_in_capitals(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert [Path(item["image"]).name for item in list_volumes(tmp_path)] == [name]


def test_broken_link_fails_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_volume(tmp_path / "data/a.nii.gz", ARRAY + 1)
    (tmp_path / "data/b.nii.gz").symlink_to(tmp_path / "annex/b.nii.gz")
    (tmp_path / "data/loop.nii.gz").symlink_to("loop.nii.gz")
    (tmp_path / "data/p2").symlink_to(tmp_path / "unmounted")
    with caplog.at_level(logging.WARNING, "camtools"):
        items = list_volumes(tmp_path / "data")
    assert [item["case"] for item in items] == ["a", "b", "loop"]
    assert "p2 is a broken link to" in caplog.text
    assert digest_unread(items) == digest_unread(items)
    steps: list[Any] = [LoadVolumed("image"), lambda data: data | {"pred": data["image"]}]
    with pytest.raises(
        VolumesFailedError, match=r"2 of 3 volumes failed.*\n.*b.nii.gz, found a broken link: .*annex/b"
    ):
        VolumePipeline("test", items, steps, {"pred": ".nii.gz"}, tmp_path / "out").run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("inner", ["out", "p/deep/out", "."])
def test_results_in_the_folder_of_the_data_are_no_data(
    tmp_path: Path, inner: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_volume(tmp_path / "a.nii.gz", ARRAY)
    run = tmp_path / inner
    for folder in ("predictions", "predictions.old-1", "maps", "shard-1-of-2/predictions"):
        write_volume(run / folder / "a.nii.gz", ARRAY)
        (run / folder / "stage-predict.json").write_text("")
    (run / "manifest.json").write_text('{"camtools": "1", "stages": {}}')
    with caplog.at_level(logging.WARNING, "camtools"):
        assert cases(tmp_path) == ["a"]
    assert "holds results of camtools: not read as data" in caplog.text
    assert cases(run / "predictions") == ["a"], "results that are asked for"


def test_manifest_of_another_tool_is_no_run(tmp_path: Path) -> None:
    write_volume(tmp_path / "p1/a.nii.gz", ARRAY)
    (tmp_path / "p1/manifest.json").write_text('{"tool": "other"}')
    assert cases(tmp_path) == ["p1/a"]


def test_labels_of_monai_label_are_no_data(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "labels/final/a.nii.gz", "labels/original/a.nii.gz"):
        write_volume(tmp_path / name, ARRAY)
    assert len(cases(tmp_path)) == 3
    (tmp_path / "datastore_v2.json").write_text("{}")
    assert cases(tmp_path) == ["a"]


def test_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(tmp_path / "p1/a.nii.gz", ARRAY)
    (tmp_path / "p2").mkdir()
    listing = Path.iterdir

    def refuse(folder: Path) -> Any:
        if folder.name == "p2":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"can be read, found .*p2 \(Permission denied\): its volumes would be missing"):
        list_volumes(tmp_path)


def test_reading_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected an image at .*, found a folder"):
        read_volume(tmp_path)
    with pytest.raises(DataError, match="found no such file"):
        read_volume(tmp_path / "gone.nii.gz")


def test_folders_of_dicom(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "a.txt").write_text("a note")
    with pytest.raises(DataError, match=r"Expected files that end in .*, found none below .*series"):
        list_volumes(tmp_path / "series")
    (tmp_path / "series" / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(400))
    with pytest.raises(
        DataError, match=r"at .*series, found a folder of DICOM files\. Convert the series .*dcm2niix -z"
    ):
        read_volume(tmp_path / "series")
    with pytest.raises(DataError, match=r"found only DICOM files below .*\. Convert the series .* dcm2niix -z y"):
        list_volumes(tmp_path)


@pytest.mark.parametrize(
    ("importer", "names", "broken"),
    [
        (import_brats, ["B/B_flair.nii.gz", "B/B_seg.nii.gz"], "C/C_seg.nii.gz"),
        (import_lgg, ["C/C_1.tif", "C/C_1_mask.tif"], "C/C_2.tif"),
        (import_glas, ["Grade.csv", "train_1.bmp"], "train_1_anno.bmp"),
    ],
)
def test_imports_name_broken_links(tmp_path: Path, importer: Any, names: list[str], broken: str) -> None:
    for name in (*names, f"{broken}.txt"):
        (tmp_path / "release" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / name).write_bytes(b"")
    (tmp_path / "release" / broken).symlink_to("gone")
    with pytest.raises(DataError, match=f"found links to missing files.*\n.*{broken} is a broken link"):
        importer(tmp_path / "release", tmp_path / "out")
