"""The check before any long work names every unusable file at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camtools.data import DataError, Splits, load_datalist
from camtools.engine import DatasetCheck
from tests.conftest import blob_volume, oblique_affine, write_volume


def listed(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: load_datalist(folder, name) for name in ("training", "validation", "test")}


def test_good_dataset_is_described(blob_dataset: Path, tmp_path: Path) -> None:
    DatasetCheck(Splits(**listed(blob_dataset)), tmp_path / "out").run()
    rows = json.loads((tmp_path / "out/dataset_check.json").read_text())
    assert len(rows) == 7
    assert rows[0]["shape"] == [32, 36, 6]
    assert rows[0]["spacing"] == [1.0, 1.0, 5.0]
    assert (rows[0]["slices"], rows[0]["positive_slices"]) == (6, 2)


def test_every_problem_is_named_at_once(blob_dataset: Path, tmp_path: Path) -> None:
    image, mask = blob_volume(0)
    images, labels = blob_dataset / "images", blob_dataset / "labels"
    nan = image.astype(np.float32)
    nan[0, 0, 0] = np.nan
    write_volume(images / "case_0.nii.gz", nan)
    write_volume(images / "case_1.nii.gz", np.stack([image] * 17, axis=-1))
    (images / "case_2.nii.gz").write_bytes(b"")
    whole = (images / "case_3.nii.gz").read_bytes()
    (images / "case_3.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_volume(labels / "case_4.nii.gz", mask[..., :-1])
    write_volume(labels / "case_5.nii.gz", mask, oblique_affine((1.0, 1.0, 4.0)))
    items = listed(blob_dataset)
    items["test"][1]["slice_labels"] = [0, 1]
    with pytest.raises(DataError) as failure:
        DatasetCheck(Splits(**items), tmp_path / "out").run()
    lines = str(failure.value).splitlines()
    assert lines[0] == "7 of 7 volumes cannot be used:"
    expected = [
        "found 1 NaN",
        "found 4D data of shape (32, 36, 6, 17) in",
        "found an empty file (0 bytes) in",
        "case_3.nii.gz cannot be",
    ]
    expected += ["its mask", "Expected the affine of the image", "Expected 6 slice tags"]
    for case, (text, line) in enumerate(zip(expected, lines[1:], strict=True)):
        assert text in line
        assert f"case_{case}.nii.gz" in line
    assert not (tmp_path / "out/dataset_check.json").exists()


@pytest.mark.parametrize(
    ("tags", "found"), [([0] * 6, "only negative slices"), ([1] * 6, "only positive slices"), (None, "no slices")]
)
def test_training_set_of_one_class_is_refused(
    blob_dataset: Path, tmp_path: Path, tags: list[int] | None, found: str
) -> None:
    items = listed(blob_dataset)
    items["training"] = [item | {"slice_labels": tags} for item in items["training"]] if tags else []
    count = len(items["training"])
    with pytest.raises(DataError, match=f"training slices with and without the object, found {found} in {count} volum"):
        DatasetCheck(Splits(**items), tmp_path).run()
