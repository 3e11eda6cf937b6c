"""Writing the report."""

from __future__ import annotations

import logging
from pathlib import Path

from camtools.data.files import atomic_path
from camtools.engine.ranks import on_first_rank
from camtools.report.content import read_run
from camtools.report.page import build_page
from camtools.report.sheet import sheet_rows, write_sheet
from camtools.report.viewer import draw_views

__all__ = ["write_report"]

logger = logging.getLogger("camtools")


@on_first_rank
def write_report(output_dir: str | Path) -> Path:
    """Write ``report.html``, and ``contact_sheet.png`` where the run has panels; both atomically.

    The page is one file that fetches nothing: pictures and style are inside. A part of the run that is missing or
    unreadable is named on the page, with the step that writes it.

    Args:
        output_dir: folder of a run.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: there is no such folder.

    Example:
        >>> import tempfile
        >>> write_report(tempfile.mkdtemp()).name
        'report.html'
    """
    run = read_run(output_dir)
    rows = sheet_rows(run)
    if rows:
        write_sheet(rows, run.folder / "contact_sheet.png")
    page = run.folder / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(build_page(run, rows, draw_views(run)), encoding="utf-8")
    logger.info("report: %s", page)
    return page
