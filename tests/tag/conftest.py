"""A server, a browser and somebody who tags, for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browsers import chromium
from tests.tag.browser import Open, Server, Tagger


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    pytest.importorskip("uvicorn", reason="needs the extra 'tag'")
    servers: list[Server] = []

    def start(*args: Any, **more: Any) -> Server:
        servers.append(Server(*args, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    taggers: list[Tagger] = []
    contexts: list[Any] = []

    def open_page(address: str, context: Any = None, **settings: Any) -> Tagger:
        context = context or browser.new_context(viewport={"width": 1280, "height": 800}, **settings)
        contexts.append(context)
        taggers.append(Tagger(context.new_page(), address))
        return taggers[-1]

    yield open_page
    for tagger in taggers:
        assert tagger.errors == []
        assert {host.split(":")[0] for host in tagger.hosts} == {"127.0.0.1"}
    for context in contexts:
        context.close()
