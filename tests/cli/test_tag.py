"""What camtools tag says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.cli.tag import next_step
from camtools.patches import PatchGrid
from camtools.tag.listing import read_folder
from camtools.tag.session import TagOptions, TagSession
from tests.tag.helpers import Asker, write_folder


def test_the_next_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "my data")
    monkeypatch.setattr("camtools.tag.serve.serve_tags", lambda session, port, browser, say: None)
    done = CliRunner().invoke(app, ["tag", str(root)])
    assert done.output == "None of 3 volumes is confirmed yet. The same command goes on.\n"
    asker = Asker(root)
    assert asker.act("p0/a", 0, ranges=[[2, 3]], status="done").status_code == 200
    asker.session.stop()
    done = CliRunner().invoke(app, ["tag", str(root)])
    assert done.output.replace("\n", " ").startswith(f"1 of 3 volumes are confirmed, in {root}/dataset.json.")
    assert done.output.endswith(f"Next: camtools train auto '{root}' --output-dir RUN\n")


def test_patches_are_for_another_bundle(tmp_path: Path) -> None:
    session = TagSession(read_folder(write_folder(tmp_path)), TagOptions(grid=PatchGrid(16, 8)))
    session.writer.done = lambda: [()]  # type: ignore[method-assign, assignment, list-item, return-value]
    assert "Next: camtools train oeem" in next_step(session)
