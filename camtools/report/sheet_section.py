"""The contact sheet on the page."""

from __future__ import annotations

from collections.abc import Sequence

from camtools.report.cells import CELL
from camtools.report.content import RunContent
from camtools.report.markup import UNKNOWN, data_uri, name, note, scrolling, text
from camtools.report.sheet import SheetRow, sheet_headings

__all__ = ["sheet_section"]


def sheet_section(run: RunContent, rows: Sequence[SheetRow]) -> str:
    """A row per case and a column per step of the method; a grid of captioned pictures on a small screen.

    Args:
        run: what the run left; its note on panels is shown.
        rows: from :func:`camtools.report.sheet.sheet_rows`.
    """
    notes = note(run.panels.note) if run.panels.note else ""
    if not rows:
        return notes
    headings = sheet_headings(rows)
    head = "".join(f'<th scope="col" role="columnheader">{text(heading)}</th>' for heading in headings)
    # what is wrong with every case is said once
    common = [message for message in rows[0].notes if all(message in row.notes for row in rows)]
    notes += "".join(note(message) for message in common)
    body = "".join(_sheet_row(row, headings, common) for row in rows)
    content = (
        "<caption>One slice per case, the middle one of its positive slices; Dice is that of the whole volume. "
        "Superior or anterior is up, the patient's right on the right (sagittal: anterior on the right). "
        "Also saved as contact_sheet.png.</caption>"
        f'<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Case</th>{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody>'
    )
    large = '<label class="large"><input type="checkbox" id="large"> Large pictures</label>'
    return (
        notes
        + large
        + _legend(headings)
        + scrolling("Contact sheet", f'<table class="sheet" role="table">{content}</table>')
    )


def _sheet_row(row: SheetRow, headings: Sequence[str], common: Sequence[str]) -> str:
    # roles are given since small screens show the row as a grid, which hides that it is part of a table
    facts = "".join(f"<span>{text(fact)}</span>" for fact in row.facts)
    facts += "".join(f'<span class="note">{text(message)}</span>' for message in row.notes if message not in common)
    cells = []
    for heading in headings:
        picture = UNKNOWN
        if heading in row.cells:
            alternative = f"{heading}, {row.case}, slice {row.slice_index}"
            picture = (
                f'<img src="{data_uri(row.cells[heading])}" alt="{text(alternative)}" width="{CELL}" height="{CELL}">'
            )
        cells.append(f'<td role="cell"><span class="heading" aria-hidden="true">{text(heading)}</span>{picture}</td>')
    return f'<tr role="row"><th scope="row" role="rowheader"><b>{name(row.case)}</b>{facts}</th>{"".join(cells)}</tr>'


def _legend(headings: Sequence[str]) -> str:
    scale = '<span class="scale"></span>'
    seeds = '<li><span class="disc"></span> foreground seed</li><li><span class="square"></span> background seed</li>'
    return (
        '<ul class="legend">'
        f"<li>{'Maps and pseudo-label' if 'Pseudo-label' in headings else 'Maps'}: 0 {scale} 1</li>"
        f"{seeds if 'Seeds' in headings else ''}"
        '<li><span class="truth"></span> truth</li><li><span class="prediction"></span> '
        f"{'pseudo-mask, prediction' if 'Pseudo-mask' in headings else 'prediction'}</li>"
        "</ul>"
    )
