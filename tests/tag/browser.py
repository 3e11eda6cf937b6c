"""A server in a process of its own, and somebody who tags in a real browser, by keys."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camtools.tag.listing import read_folder
from camtools.tag.serve import serve_tags
from camtools.tag.session import TagOptions, TagSession
from tests.browsers import wait_until

FORK = multiprocessing.get_context("fork")


def _serve(root: Path, options: TagOptions | None, port: int, pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    serve_tags(TagSession(read_folder(root), options), port, open_browser=False, say=pipe.send)


class Server:
    """``camtools tag`` for a folder, which can be killed."""

    def __init__(self, root: Path, options: TagOptions | None = None, port: int = 0) -> None:
        ours, theirs = FORK.Pipe()
        self.process = FORK.Process(daemon=True, target=_serve, args=(root, options, port, theirs))
        self.process.start()
        said = ours.recv() + "\n" + ours.recv()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=\S+", said)
        assert found, said
        self.address, self.port = found.group(), int(found.group(1))

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()

    def stop(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGINT)
            self.process.join(30)


class Tagger:
    """Somebody who presses keys, counts them, and notes what goes wrong."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.keys: list[str] = []
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.goto(address)
        self.wait("document.body.dataset.ready")

    @property
    def case(self) -> str:
        return str(self.page.inner_text("#case"))

    @property
    def slice(self) -> int:
        return int(self.page.get_attribute("#main", "data-slice"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.keys.append(key)
            self.page.keyboard.press(key)

    def go(self, index: int) -> None:
        """Press an arrow until a slice is on the screen."""
        steps = index - self.slice
        self.press(*["ArrowRight" if steps > 0 else "ArrowLeft"] * abs(steps))
        self.wait(f"document.getElementById('main').dataset.slice === '{index}'")

    def wait_for(self, case: str) -> None:
        self.wait("text => document.getElementById('main').ariaLabel.startsWith(text + ',')", case)

    def badge(self, text: str) -> None:
        self.wait("text => document.getElementById('badge').textContent === text", text)

    def message(self, part: str) -> None:
        self.wait("part => document.getElementById('message').textContent.includes(part)", part)

    def wait(self, what: str, value: Any = None) -> None:
        """Ask until it is true."""
        wait_until(lambda: self.page.evaluate(what, value), what=f"{what} ({value})")


Open = Callable[..., Tagger]
"""Opens a page: its address, a browser context to share, settings of a new context."""
