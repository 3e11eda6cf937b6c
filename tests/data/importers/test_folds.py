"""Folds of nnU-Net: what a fold says, and every way the file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from camtools.data import DataError
from camtools.data.importers.folds import split_of_fold

CASES = ("a", "b", "c")
FOLDS = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a"]}]


def written(folder: Path, content: Any) -> Path:
    (folder / "splits_final.json").write_text(json.dumps(content))
    return folder / "splits_final.json"


def test_a_fold_decides_and_changes_the_record(tmp_path: Path) -> None:
    path = written(tmp_path, FOLDS)
    first, second = split_of_fold(path, 0, CASES, ["t"]), split_of_fold(path, 1, CASES, ())
    assert first.of_case == {"a": "training", "b": "training", "c": "validation", "t": "test"}
    assert second.of_case == {"c": "training", "a": "validation"}
    assert first.choices["fold"] == 0
    assert first.choices["cases_of_fold"] != second.choices["cases_of_fold"]


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_does_not_exist(tmp_path: Path, fold: int) -> None:
    with pytest.raises(DataError, match=rf"a fold from 0 to 1, found {fold} for .*splits_final.json\. Choose one"):
        split_of_fold(written(tmp_path, FOLDS), fold, CASES, ())


@pytest.mark.parametrize("content", [{}, [], [[]], [{"train": ["a"]}], [{"train": ["a"], "val": []}], [{"train": [1]}]])
def test_other_content(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"Expected a list of folds such as .* found something else in .*final.json"):
        split_of_fold(written(tmp_path, content), 0, CASES, ())


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected the folds of nnU-Net in .*gone.json, found no such file\. Give it"):
        split_of_fold(tmp_path / "gone.json", 0, CASES, ())
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(DataError, match=r"Expected JSON, found something else in .*a.json"):
        split_of_fold(tmp_path / "a.json", 0, CASES, ())


def test_cases_that_do_not_exist_or_are_named_twice(tmp_path: Path) -> None:
    path = written(tmp_path, [{"train": ["a", "x", "y"], "val": ["b"]}, {"train": ["a", "b"], "val": ["b"]}])
    with pytest.raises(DataError, match=r"names of cases of imagesTr, found 2 others in .*: x, y\. Copy their files"):
        split_of_fold(path, 0, CASES, ())
    with pytest.raises(DataError, match=r"every case once in fold 1, found b several times in .*splits_final.json"):
        split_of_fold(path, 1, CASES, ())
