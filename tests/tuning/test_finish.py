from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from camtools.data.errors import DataError
from camtools.tuning import FinishChoice, read_finish, write_finish


def test_round_trip_and_values_that_replace(tmp_path: Path) -> None:
    path = tmp_path / "finish.json"
    choice = FinishChoice(threshold=0.2, largest_component=True)
    write_finish(choice, path)
    assert json.loads(path.read_text())["threshold"] == 0.2
    assert read_finish(path) == choice
    assert read_finish(path, threshold=0.7) == FinishChoice(0.7, True)
    assert read_finish(path, largest_component=False) == FinishChoice(0.2, False)


def test_missing_file_is_named(tmp_path: Path) -> None:
    message = r"Expected the threshold of the training at .*finish\.json, found no such file\. Copy it from"
    with pytest.raises(FileNotFoundError, match=message):
        read_finish(tmp_path / "finish.json", threshold=0.5)


@pytest.mark.parametrize("content", ["{", "[]", '{"threshold": 0.2}', '{"format": "camtools finish choice 1", "a": 1}'])
def test_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "finish.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"Expected the threshold of a training in .*finish\.json, found another"):
        read_finish(path)


@pytest.mark.parametrize("value", [0, 1.0, True, "0.5"])
def test_refused_threshold(value: Any) -> None:
    with pytest.raises(ValueError, match=r"threshold: expected a number above 0 and below 1, found .*Correct it\."):
        FinishChoice(threshold=value)


def test_refused_largest_component() -> None:
    with pytest.raises(ValueError, match=r"largest_component: expected true or false, found 'yes'\. Correct it\."):
        FinishChoice(largest_component="yes")  # type: ignore[arg-type]
