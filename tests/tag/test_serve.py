"""The server behind real pages: killed and started again, two pages at once, broken volumes, patches."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from camtools.data.dividing import SPLIT_NAMES
from camtools.data.phantoms import write_phantoms
from camtools.patches import PatchGrid
from camtools.tag.ranges import ranges_of
from camtools.tag.session import TagOptions
from camtools.tag.store import TagStore
from tests.browsers import wait_until
from tests.tag.browser import Open, Tagger
from tests.tag.helpers import rows_of, write_folder


def tag_one(tagger: Tagger, tags: list[int]) -> None:
    """All of one volume, by keys."""
    ranges = ranges_of(tags)
    if not ranges:
        tagger.press("0")
    for first, last in ranges:
        tagger.go(first)
        tagger.press("f")
        tagger.go(last)
        tagger.press("l")


def test_twenty_volumes_by_keys(tmp_path: Path, serve: Any, visit: Open, record_property: Any) -> None:
    write_phantoms("fetal_brain", tmp_path / "phantoms", n=20)
    content = json.loads((tmp_path / "phantoms/dataset.json").read_text())
    truth = {Path(item["image"]).name: item["slice_labels"] for split in SPLIT_NAMES for item in content[split]}
    root = Path(shutil.copytree(tmp_path / "phantoms/images", tmp_path / "images"))
    server = serve(root)
    tagger = visit(server.address)
    began = time.monotonic()
    for number in range(20):
        case = f"fetal_brain_{number:03d}"
        tagger.wait_for(case)
        if number == 5:  # a reload in the middle of a volume
            tagger.go(ranges_of(truth[f"{case}.nii.gz"])[0][0])
            tagger.press("f")
            tagger.badge("not confirmed")
            tagger.page.reload()
            tagger.wait("document.body.dataset.ready")
            tagger.wait_for(case)
            tagger.badge("not confirmed")
            tagger.press("z")
            tagger.message("Taken back.")
        if number == 12:  # the server is killed and started again at the same address
            tagger.press("1")
            tagger.badge("not confirmed")
            server.kill()
            server = serve(root, port=server.port)
            tagger.page.goto(server.address)
            tagger.wait("document.body.dataset.ready")
            tagger.wait_for(case)
            tagger.badge("not confirmed")
            tagger.press("z")
            tagger.message("Taken back.")
        tag_one(tagger, truth[f"{case}.nii.gz"])
        tagger.press("Enter")
    tagger.message("All volumes are confirmed.")
    seconds = (time.monotonic() - began) / 20
    moves = sum(key.startswith("Arrow") for key in tagger.keys)
    keys = (len(tagger.keys) - moves) / 20
    record_property("keys per volume", keys)
    record_property("arrows per volume", moves / 20)
    record_property("seconds per volume", seconds)
    print(f"{keys:.2f} keys, {moves / 20:.1f} arrows and {seconds:.2f} s per volume")
    server.stop()
    # While no server runs, the page finds none; the new one refuses the page of the old one, until it is loaded again.
    expected = ("net::ERR_CONNECTION_", "403 (Forbidden)")
    tagger.errors = [error for error in tagger.errors if not any(part in error for part in expected)]
    assert rows_of(root / "tags.csv") == truth
    listed = json.loads((root / "dataset.json").read_text())
    assert {split: len(listed[split]) for split in SPLIT_NAMES} == {"training": 16, "validation": 4, "test": 0}
    assert not (root / "tags.csv").is_symlink()


def test_two_tabs(tmp_path: Path, serve: Any, visit: Open) -> None:
    server = serve(write_folder(tmp_path))
    one = visit(server.address)
    two = visit(server.address, one.page.context)
    one.go(1)
    one.press("f")
    one.badge("not confirmed")
    two.go(4)
    two.press("x")  # made before this tab has noticed, or after: never on top of the other
    two.badge("not confirmed")
    assert two.page.evaluate("document.getElementById('where').textContent").startswith("axial")
    wait_until(lambda: two.page.locator(".mark.open").count() == 1)
    one.go(2)
    one.press("l", "Enter")
    two.message("in another tab or program; the new ones are shown.")
    two.badge("confirmed")
    two.errors = [error for error in two.errors if "409" not in error]


def test_conflict_is_said_and_nothing_is_overwritten(tmp_path: Path, serve: Any, visit: Open) -> None:
    root = write_folder(tmp_path)
    tagger = visit(serve(root).address)
    tagger.page.evaluate("window.setInterval = () => 0")
    TagStore(root / ".camtools_tag/slices.jsonl").act("p0/a", 0, {"ranges": [[0, 1]], "status": "open"}, by="anna")
    tagger.page.route("**/api/changes*", lambda route: route.abort())
    tagger.press("x")
    tagger.message("anna changed its tags")
    tagger.badge("not confirmed")
    assert "slices 1 to 2" in tagger.page.inner_text("#where")
    tagger.errors = []


def test_broken_volumes_do_not_stop_the_others(tmp_path: Path, serve: Any, visit: Open) -> None:
    root = write_folder(tmp_path, 3)
    whole = (root / "p1/a.nii.gz").read_bytes()
    (root / "p1/a.nii.gz").write_bytes(whole[: len(whole) // 2])
    (root / "p0/b.nii.gz").write_bytes(b"")
    tagger = visit(serve(root).address)
    assert "(0 bytes)" in tagger.page.inner_text("#volumes .why")
    tagger.press("n")
    tagger.wait("document.getElementById('failure').textContent.includes('truncated or damaged')")
    tagger.wait("document.querySelectorAll('.mark.broken').length === 2")
    tagger.press("n")
    tagger.wait_for("p2/a")
    tagger.errors = [error for error in tagger.errors if "422" not in error]


def test_patches(tmp_path: Path, serve: Any, visit: Open) -> None:
    root = write_folder(tmp_path, 1)
    server = serve(root, TagOptions(("background", "gland"), PatchGrid(24, 12)))
    tagger = visit(server.address)
    page = tagger.page

    def where(text: str) -> None:
        tagger.wait("text => document.getElementById('where').textContent.endsWith(text)", text)

    where("0 of 24 patches")
    tagger.press("Home")
    for index in range(6):
        while "axial 1 of" not in page.inner_text("#where") and index == 0:
            tagger.press("PageUp")
        tagger.wait(f"document.getElementById('main').dataset.slice === '{index}'")
        tagger.press("1", "m", "0")
        where(f"{index * 4 + 3} of 24 patches")
        tagger.press("Enter")
        tagger.message("Expected a class for every patch, found")
        tagger.press("f")
        where(f"{index * 4 + 4} of 24 patches")
        tagger.press("PageDown")
    box = page.locator("#main").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 + 20)
    tagger.press("Enter")
    tagger.message("All volumes are confirmed")
    server.stop()
    tagger.errors = [error for error in tagger.errors if "400" not in error]
    rows = (root / "patches.csv").read_text().splitlines()
    assert rows[0] == "image,slice,x,y,classes"
    assert len(rows) == 25
    assert sorted({row.split(",")[-1] for row in rows[1:]}) == ["0", "0 1", "1"]
    item = json.loads((root / "dataset.json").read_text())["training"][0]
    assert item["patch_labels"] == "patches.csv"
