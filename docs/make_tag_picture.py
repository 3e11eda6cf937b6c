"""The pictures of ``camtools tag`` in the documentation: the page itself, on phantoms.

python docs/make_tag_picture.py
"""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from camtools.data.phantoms import write_phantoms
from camtools.tag.listing import read_folder
from camtools.tag.serve import serve_tags
from camtools.tag.session import TagSession
from camtools.tag.suggest import Suggestions

PICTURES = Path(__file__).parent / "img"
FORK = multiprocessing.get_context("fork")


def serve(root: Path, truth: dict[str, list[int]], pipe: Any) -> None:
    """The server; its suggestions are the phantoms' own tags, a little less sure at the borders."""

    def classify(path: Path) -> list[float]:
        tags = [float(tag) for tag in truth[path.name]]
        padded = [tags[0], *tags, tags[-1]]
        return [0.02 + 0.96 * sum(padded[k : k + 3]) / 3 for k in range(len(tags))]

    session = TagSession(read_folder(root), suggestions=Suggestions(lambda: classify, "phantoms"))
    serve_tags(session, open_browser=False, say=pipe.send)


def wait(page: Page, what: str) -> None:
    """Ask until an expression is true, and a moment longer, for what is drawn then."""
    end = time.monotonic() + 300
    while not page.evaluate(what):
        assert time.monotonic() < end, what
        page.wait_for_timeout(100)
    page.wait_for_timeout(1000)


def tag(page: Page) -> None:
    """One volume confirmed, and one by hand."""
    wait(page, "document.body.dataset.ready")
    wait(page, "document.getElementById('badge').textContent === 'suggested'")
    page.keyboard.press("Enter")
    wait(page, "document.getElementById('progress-text').textContent.startsWith('1 of')")
    page.keyboard.press("f")
    wait(page, "document.getElementById('badge').textContent === 'not confirmed'")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1000)
    page.keyboard.press("l")
    wait(page, "document.getElementById('where').textContent.includes('slices')")
    page.wait_for_timeout(2000)


def main() -> None:
    """Write ``docs/img/tag.png`` and ``tag_splits.png``."""
    with tempfile.TemporaryDirectory() as name:
        write_phantoms("tumour", Path(name) / "phantoms", n=8)
        content = json.loads((Path(name) / "phantoms/dataset.json").read_text())
        items = [item for split in ("training", "validation", "test") for item in content[split]]
        truth = {Path(item["image"]).name: item["slice_labels"] for item in items}
        root = Path(shutil.copytree(Path(name) / "phantoms/images", Path(name) / "flair"))
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=serve, args=(root, truth, theirs), daemon=True)
        process.start()
        said = ours.recv() + ours.recv()
        address = re.search(r"http://\S+token=[\w-]+", said)
        assert address, said
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address.group())
            tag(page)
            page.screenshot(path=PICTURES / "tag.png")
            page.keyboard.press("e")
            wait(page, "document.querySelectorAll('#split-rows tr').length > 0")
            page.locator("#dataset").screenshot(path=PICTURES / "tag_splits.png")
            chromium.close()
        process.kill()
    for path in (PICTURES / "tag.png", PICTURES / "tag_splits.png"):
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
