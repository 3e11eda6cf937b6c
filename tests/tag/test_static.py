"""The page (camtools/tag/static): short files that load nothing from elsewhere, and its controls in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.tag.server import KINDS, STATIC
from tests.tag.browser import Open
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
    assert "found no settings of a classifier in" in found.output.replace("\n", " ")
    found = run.invoke(app, ["tag", str(tmp_path), "--suggest", str(tmp_path / "run"), "--patches"])
    assert found.exit_code == 1
    assert "Expected --suggest or --patches, found both. Models suggest tags of slices only." in found.output
    found = run.invoke(app, ["tag", str(tmp_path), "--patches", "--patch-stride", "0"])
    assert found.exit_code == 1
    assert "stride" in found.output


def test_mouse_on_the_strip_and_undo(tmp_path: Path, serve: Any, visit: Open) -> None:
    tagger = visit(serve(write_folder(tmp_path)).address)
    page = tagger.page
    box = page.locator("#strip").bounding_box()

    def place(index: int) -> float:
        return float(box["x"] + box["width"] * (index + 0.5) / 6)

    def where(text: str) -> None:
        tagger.wait("text => document.getElementById('where').textContent.endsWith(text)", text)

    page.mouse.click(place(4), box["y"] + 10)
    where("axial 5 of 6 · not tagged")
    page.mouse.move(place(1), box["y"] + 10)
    page.mouse.down()
    page.mouse.move(place(3), box["y"] + 10, steps=4)
    page.mouse.up()
    where("slices 2 to 4")
    page.mouse.click(place(5), box["y"] + box["height"] - 8)
    where("slices 2 to 4, 6")
    page.keyboard.press("z")
    where("slices 2 to 4")
    page.keyboard.down("Shift")
    page.mouse.move(place(2), box["y"] + 10)
    page.mouse.down()
    page.mouse.move(place(3), box["y"] + 10, steps=2)
    page.mouse.up()
    page.keyboard.up("Shift")
    where("slices 2")
    tagger.press("1")
    where("slices 1 to 6")
    tagger.press("0")
    where("nowhere")
    tagger.press("z", "z", "z", "z")
    where("not tagged")
    tagger.press("Enter")
    tagger.message("Not tagged yet: mark first and last slice, or say nowhere (0).")
    tagger.go(1)
    tagger.press("f", "Enter")
    tagger.message("The last slice of the object is missing")
    tagger.press("u", "n")
    tagger.wait_for("p1/a")
    assert page.locator(".mark.unsure").count() == 1


def test_window_zoom_planes_and_help(tmp_path: Path, serve: Any, visit: Open) -> None:
    tagger = visit(serve(write_folder(tmp_path)).address)
    page = tagger.page
    window = page.inner_text("#window-text")
    tagger.press("b", "c")
    tagger.wait("text => document.getElementById('window-text').textContent !== text", window)
    tagger.press("+", "+", "r")
    tagger.wait("text => document.getElementById('window-text').textContent === text", window)
    box = page.locator("#other1").bounding_box()
    plane_slices = 6
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tagger.wait(f"Number(document.getElementById('main').dataset.slice) >= {plane_slices // 2 - 1}")
    tagger.press("v")
    tagger.wait("document.getElementById('others').clientWidth === 0")
    tagger.press("?")
    assert page.locator("#help").is_visible()
    assert "First slice of the object" in page.inner_text("#help-text")
    tagger.press("Escape", "e")
    page.locator("#split-rows tr").first.wait_for()
    page.fill("#patient", "(")
    tagger.wait("document.getElementById('split-problem').textContent.includes('expected a regular expression')")
    page.fill("#patient", "p.")
    tagger.wait("!document.getElementById('save-splits').disabled")
    page.keyboard.press("Enter")
    tagger.message("dataset.json is drawn and saved.")
    tagger.errors = [error for error in tagger.errors if "400" not in error]


def test_tablet(tmp_path: Path, serve: Any, visit: Open) -> None:
    settings = {"has_touch": True, "is_mobile": True}
    tagger = visit(serve(write_folder(tmp_path)).address, **settings)
    page = tagger.page
    page.set_viewport_size({"width": 820, "height": 1180})
    assert page.evaluate("document.documentElement.scrollWidth") <= 820
    for button in page.locator("#actions button").all():
        assert button.bounding_box()["height"] >= 40, "large enough for a finger"
    page.tap("#actions button:has-text('Everywhere')")
    tagger.badge("not confirmed")
    page.tap("#actions button:has-text('Confirm')")
    tagger.wait_for("p1/a")
