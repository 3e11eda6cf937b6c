"""Folders of phantoms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from camtools.data import load_datalist
from camtools.data.phantoms import Phantom, write_phantoms, writer

SPACING = (1.0, 1.0, 6.5)


def voxels(path: Path) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.asanyarray(nib.load(path).dataobj)
    return array


TINY = Phantom(np.ones((4, 4, 2), np.int16), np.ones((4, 4, 2), np.uint8), np.eye(4))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms("fetal_brain", tmp_path_factory.mktemp("phantoms") / "brains", n=4, seed=7).parent


def test_dataset_folder(dataset: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    assert content["name"] == "fetal_brain"
    assert "fetal brain" in content["description"]
    assert content["labels"] == {"0": "background", "1": "brain"}
    assert [len(content[split]) for split in ("training", "validation", "test")] == [2, 1, 1]
    names = sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file())
    volumes = [f"{folder}/fetal_brain_{i:03d}.nii.gz" for folder in ("images", "labels") for i in range(4)]
    assert names == ["dataset.json", *volumes]
    for item in content["training"] + content["validation"] + content["test"]:
        assert item["slice_labels"] == voxels(dataset / item["label"]).any(axis=(0, 1)).astype(int).tolist()


def test_files_carry_the_geometry(dataset: Path) -> None:
    for item in load_datalist(dataset, "training"):
        image, mask = nib.load(item["image"]), nib.load(item["label"])
        assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
        for volume in (image, mask):
            assert volume.header.get_xyzt_units()[0] == "mm"
            np.testing.assert_allclose(volume.header.get_zooms(), SPACING, atol=1e-5)
            np.testing.assert_allclose(volume.get_qform(), volume.get_sform(), atol=1e-3)
            assert (int(volume.header["qform_code"]), int(volume.header["sform_code"])) == (1, 1)
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert len(item["slice_labels"]) == image.shape[2]


def test_a_volume_depends_on_seed_and_index_only(dataset: Path, tmp_path: Path) -> None:
    write_phantoms("fetal_brain", tmp_path / "fewer", n=3, seed=7)
    write_phantoms("fetal_brain", tmp_path / "other", n=3, seed=8)
    for folder in ("images", "labels"):
        for index in range(3):
            name = f"{folder}/fetal_brain_{index:03d}.nii.gz"
            assert voxels(dataset / name).tobytes() == voxels(tmp_path / "fewer" / name).tobytes()
            assert voxels(dataset / name).tobytes() != voxels(tmp_path / "other" / name).tobytes()


@pytest.mark.parametrize(
    ("n", "splits", "sizes"),
    [
        (20, (0.6, 0.15, 0.25), [12, 3, 5]),
        (3, (0.6, 0.15, 0.25), [1, 1, 1]),
        (4, (0.98, 0.01, 0.01), [2, 1, 1]),
        (5, (0.01, 0.01, 0.98), [1, 1, 3]),
    ],
)
def test_every_split_holds_a_volume(
    n: int, splits: tuple[float, float, float], sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "make_phantom", lambda kind, seed: TINY)
    content = json.loads(write_phantoms("fetal_brain", tmp_path / "out", n, splits=splits).read_text())
    assert [len(content[split]) for split in ("training", "validation", "test")] == sizes
    images = [item["image"] for split in ("training", "validation", "test") for item in content[split]]
    assert images == [f"images/fetal_brain_{i:03d}.nii.gz" for i in range(n)]


def test_refuses_a_folder_with_content(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"new or empty folder, found 1 entries, the first 'notes.txt'. Choose"):
        write_phantoms("fetal_brain", tmp_path, n=3)
    with pytest.raises(FileExistsError, match=r"new or empty folder, found a file. Choose another folder"):
        write_phantoms("fetal_brain", tmp_path / "notes.txt", n=3)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_accepts_an_empty_folder_and_absent_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "make_phantom", lambda kind, seed: TINY)
    (tmp_path / "empty").mkdir()
    assert write_phantoms("fetal_brain", tmp_path / "empty", n=3) == tmp_path / "empty" / "dataset.json"
    assert write_phantoms("fetal_brain", tmp_path / "a" / "b", n=3).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(kind: str, seed: int) -> Phantom:
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(writer, "make_phantom", fail)
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        write_phantoms("fetal_brain", tmp_path / "out", n=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [2, 0, -1, 3.5, True])
def test_too_few_volumes(n: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Expected n >= 3 volumes, at least one per split, found n = {n}.")):
        write_phantoms("fetal_brain", tmp_path / "out", n=n)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("splits", [(0.5, 0.5), (0.6, 0.4, 0.0), (0.6, 0.3, 0.3), (1.2, -0.1, -0.1)])
def test_wrong_splits(splits: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"with sum 1, found {splits}. Correct them.")):
        write_phantoms("fetal_brain", tmp_path / "out", n=6, splits=splits)
