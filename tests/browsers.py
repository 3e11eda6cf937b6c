"""Chromium, where this machine has one, and how a test waits for a page or a server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none, or no Playwright to drive it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it drives the browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install it to test the page")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def wait_until(check: Any, seconds: float = 20, what: str = "it") -> None:
    """Wait for something that a page or a server does on its own.

    Tests ask a page by ``page.evaluate`` from here: Playwright's ``wait_for_function`` polls in the page by eval, which
    the Content-Security-Policy of our pages forbids.
    """
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)
