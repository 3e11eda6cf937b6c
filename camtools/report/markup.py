"""Pieces of HTML: escaped text, tables with captions and scopes, and pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import Any

from PIL import Image

__all__ = ["UNKNOWN", "data_uri", "name", "note", "scrolling", "section", "table", "text", "warning"]

UNKNOWN = "-"


def text(value: Any) -> str:
    """``value`` as escaped text."""
    return escape(str(value))


def name(value: Any) -> str:
    """``value`` as text that a narrow column may break after an underscore.

    Example:
        >>> name("case_1")
        'case_<wbr>1'
    """
    return text(value).replace("_", "_<wbr>")


def note(message: str) -> str:
    """A paragraph that says what is missing."""
    return f'<p class="note">{text(message)}</p>'


def warning(message: str) -> str:
    """A paragraph on a result that must not be used as it is."""
    return f'<p class="note warning">{text(message)}</p>'


def section(identifier: str, heading: str, body: str) -> str:
    """A section of the page, with a heading that the navigation can point to."""
    return f'<section id="{identifier}"><h2>{text(heading)}</h2>{body}</section>'


def scrolling(label: str, body: str) -> str:
    """A region that scrolls on its own if it is too large; the keyboard can reach it."""
    return f'<div class="scroll" role="region" aria-label="{text(label)}" tabindex="0">{body}</div>'


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numbers: int = 0,
    links: Mapping[str, str] | None = None,
    sortable: bool = False,
    ascending: str = "",
) -> str:
    """A table whose first column names its rows.

    Args:
        caption: what the table holds.
        headings: one per column.
        rows: cells as plain values; they are escaped.
        numbers: how many of the last columns are numbers, which are set flush right.
        links: first cell of a row -> where it leads to.
        sortable: the page's script lets people sort it by its headings.
        ascending: heading of the column that the rows are sorted by already, lowest first.

    Returns:
        The table in a region that scrolls sideways on a narrow screen.

    Example:
        >>> '<th scope="row">a&amp;b</th>' in table("Cases", ["Case", "Dice"], [["a&b", 0.5]])
        True
    """
    first = len(headings) - numbers
    kinds = ["" if column < first else ' class="number"' for column in range(len(headings))]
    head = "".join(
        f'<th scope="col"{kind}{_sorted(heading == ascending)}>{text(heading)}</th>'
        for heading, kind in zip(headings, kinds, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{_linked(row[0], links or {})}</th>'
        + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    content = f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    kind = ' class="sortable"' if sortable else ""
    return scrolling(caption, f"<table{kind}>{content}</table>")


def _sorted(is_sorted: bool) -> str:
    return ' aria-sort="ascending"' if is_sorted else ""


def _linked(value: Any, links: Mapping[str, str]) -> str:
    return f'<a href="{text(links[value])}">{name(value)}</a>' if value in links else name(value)


def data_uri(picture: Image.Image, quality: int = 88) -> str:
    """A picture inside the page: grey and RGB as JPEG, anything else (palette, transparency, 16 bits) as PNG.

    JPEG keeps the full colour resolution, so that thin outlines stay sharp.

    Args:
        picture: of any size; its mode one that PNG has.
        quality: of JPEG, 1..95.

    Example:
        >>> data_uri(Image.new("RGBA", (1, 1)))[:22]
        'data:image/png;base64,'
    """
    kind = "jpeg" if picture.mode in ("L", "RGB") else "png"
    encoded = _jpeg(picture, quality) if kind == "jpeg" else _png(picture)
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    for optimize in (True, False):
        stream = io.BytesIO()
        # noise does not fit the buffer that Pillow makes for optimized files
        with suppress(OSError):
            picture.save(stream, format="jpeg", optimize=optimize, quality=quality, subsampling=0)
            return stream.getvalue()
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue()
