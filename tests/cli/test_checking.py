"""The command check: the stage alone, and what it found."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from tests.bundles.conftest import REPOSITORY
from tests.conftest import write_dataset


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments), "--bundles", str(REPOSITORY / "bundles")])
    return result.exit_code, result.output


def test_check_prints_what_it_found_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    write_dataset(tmp_path / "data", {"training": 2, "test": 1})
    code, output = invoke(tmp_path / "data")
    assert code == 0
    command, *found = output.splitlines()
    assert shlex.split(command)[:5] == ["python", "-m", "monai.bundle", "run", "check"]
    assert found[0].startswith("training: 2 volumes of 32 x 36 x 6 voxels, 1 x 1 x 5 mm, axial, ")
    assert found[0].endswith(" of 12 slices positive")
    assert found[1].startswith("test: 1 volumes of")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_check_ends_with_the_exit_code_of_the_bundle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "data", {"training": 1})
    (tmp_path / "data/images/case_0.nii.gz").write_bytes(b"no volume")
    assert invoke(tmp_path / "data", "--output-dir", tmp_path / "out")[0] == 1
    assert "1 of 1 volumes cannot be used" in capfd.readouterr().err


def test_check_does_not_touch_a_training(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"training": 1})
    (tmp_path / "manifest.json").write_text(json.dumps({"stages": {"check": {}, "classify": {}}}))
    code, output = invoke(tmp_path / "data", "--output-dir", tmp_path)
    assert code == 1
    assert f"Expected a folder for the check alone, found a training in {tmp_path}." in output


def test_check_needs_a_list(tmp_path: Path) -> None:
    code, output = invoke(tmp_path)
    assert code == 1
    assert f"Expected dataset.json in {tmp_path}, found none." in output
