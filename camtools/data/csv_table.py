"""CSV tables in all the forms that spreadsheets write: byte order marks, UTF-16, semicolons, tabs."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camtools.data.errors import DataError

__all__ = ["TableRow", "read_table"]

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class TableRow:
    """One row: its line number, from 1, and its stripped cells by column."""

    line: int
    cells: dict[str, str]


def read_table(path: Path, columns: Sequence[str]) -> list[TableRow]:
    """Rows of a CSV whose first line names its columns; blank rows and extra columns are ignored.

    The text is UTF-8, UTF-16 with a byte order mark, or the western code page of Windows. Cells are separated by
    commas, semicolons or tabs. Names of columns may have spaces around them and any letter case. A first line
    ``sep=;``, as Excel writes it, is ignored.

    Args:
        path: the file.
        columns: names of the columns that the table needs, each once.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a row with too many or too few cells.
    """
    lines = _text(path).splitlines(keepends=True)
    start = 1 if lines and lines[0].strip().lower().startswith("sep=") else 0
    heading = lines[start] if len(lines) > start else ""
    delimiter = next((mark for mark in _DELIMITERS if set(columns) <= set(_columns(heading, mark))), None)
    found = _columns(heading, delimiter or ",")
    if delimiter is None:
        raise DataError(
            f"Expected the columns {','.join(columns)}, found {found} in {path}. Correct its first line, and separate "
            "the cells by commas, semicolons or tabs."
        )
    twice = [name for name in columns if found.count(name) > 1]
    if twice:
        raise DataError(
            f"Expected the column '{twice[0]}' once, found it {found.count(twice[0])} times in {path}. Rename one."
        )
    reader = csv.reader(io.StringIO("".join(lines[start + 1 :]), newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            line = start + 1 + reader.line_num
            cells = [cell.strip() for cell in cells]
            if any(cells):
                rows.append(TableRow(line, _by_column(path, line, found, cells)))
    except csv.Error as error:
        line = start + 1 + reader.line_num
        raise DataError(f"{path}, line {line}: expected a row of a CSV, found {error}. Correct it.") from error
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        mark = next((code for start, code in _MARKS.items() if content.startswith(start)), None)
        text = content.decode(mark) if mark else _decoded(content)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected text in {path}, found other content ({error}). Save it as CSV in UTF-8.") from error
    if "\0" in text:
        raise DataError(f"Expected text in UTF-8, found NUL characters in {path}. Save it as CSV in UTF-8.")
    return text


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _columns(heading: str, delimiter: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([heading], delimiter=delimiter), [])]


def _by_column(path: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    missing = [column for column in columns[len(cells) :] if column]
    extra = [cell for cell in cells[len(columns) :] if cell]
    if missing or extra:
        raise DataError(
            f"{path}, line {line}: expected {len(columns)} cells ({','.join(columns)}), found {len(cells)}: "
            f"{list(cells)}. Correct the row; put quotes around a name that contains a comma."
        )
    return dict(zip(columns, cells, strict=False))
