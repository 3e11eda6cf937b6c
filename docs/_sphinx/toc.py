"""Sphinx extension: the site's contents are the links of ``index.md``, which stays plain Markdown for other readers."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Add a hidden table of contents for every section of ``index.md``."""
    if page != "index":
        return
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        caption = section.splitlines()[0]
        pages = re.findall(r"\]\(([\w/]+)\.md\)", section)
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```", ""])


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to pages as they are read."""
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
