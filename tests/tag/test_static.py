"""The files of the page (camtools/tag/static): short, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.tag.server import KINDS, STATIC
from tests.tag.helpers import write_folder

FILES = sorted(STATIC.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_short_and_their_own(path) -> None:  # type: ignore[no-untyped-def]
    text = path.read_text(encoding="utf-8")
    assert path.suffix in KINDS
    assert text.count("\n") < 300
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"^\s*//.*$|\s// .*$", "", text, flags=re.MULTILINE))
    assert "innerHTML" not in text, "names of files are text, never markup"
    for name in re.findall(r'from "(.+?)"', text):
        assert (STATIC / name).is_file()


def test_functions_are_short() -> None:
    for path in FILES:
        if path.suffix != ".js":
            continue
        start = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            if re.match(r"^( {2}|export |async |)*(async )?(function |constructor|\w+\().*\{$", line):
                start = number
            if start is not None and re.match(r"^( {2})?\}", line):
                assert number - start < 40, f"{path.name}, line {start + 1}"
                start = None


def test_command_ends_with_one_message(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = CliRunner()
    found = run.invoke(app, ["tag", str(tmp_path / "none")])
    assert found.exit_code == 1
    assert "Expected a folder of volumes, found none at" in found.output
    write_folder(tmp_path, 1)
    found = run.invoke(app, ["tag", str(tmp_path), "--suggest", str(tmp_path / "run")])
    assert found.exit_code == 1
    assert "Expected a trained classifier at" in found.output.replace("\n", " ")
    found = run.invoke(app, ["tag", str(tmp_path), "--patches", "--patch-stride", "0"])
    assert found.exit_code == 1
    assert "stride" in found.output
