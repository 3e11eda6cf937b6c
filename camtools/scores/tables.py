"""Tables of scores: Markdown with the best of a column in bold, and CSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from camtools.data.files import atomic_path

__all__ = ["best_in_bold", "markdown_table", "read_csv", "write_csv"]

Row = TypeVar("Row")


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown of a table; ``|`` in a cell is escaped.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", 2]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (titles, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(titles)}", *lines[1:]])


def best_in_bold(
    values: Sequence[float | None],
    deviations: Sequence[float] | None = None,
    ranked: Sequence[bool] | None = None,
    higher_is_better: bool = True,
) -> list[str]:
    """Cells of one column with two decimals, the best in bold.

    Values that look equal are equal. A column with fewer than two values to rank has no best.

    Args:
        values: scores; None is shown as ``-``.
        deviations: standard deviation of each, shown behind ``±``.
        ranked: which values may be the best; None for all.
        higher_is_better: whether the best is the largest.

    Example:
        >>> best_in_bold([89.764, 90.5, None, 95.0], ranked=[True, True, True, False])
        ['89.76', '**90.50**', '-', '95.00']
    """
    allowed = [value is not None for value in values] if ranked is None else list(ranked)
    shown = ["-" if value is None else f"{value:.2f}" for value in values]
    candidates = [text for text, free in zip(shown, allowed, strict=True) if free and text != "-"]
    best = None
    if len(candidates) > 1:
        best = max(candidates, key=float) if higher_is_better else min(candidates, key=float)
    cells = []
    for index, text in enumerate(shown):
        cell = text if deviations is None or text == "-" else f"{text} ± {deviations[index]:.2f}"
        cells.append(f"**{cell}**" if text == best and allowed[index] else cell)
    return cells


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table, atomically; floats keep six significant digits and None is an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)


def read_csv(path: Path, header: Sequence[str], parse: Callable[[list[str]], Row]) -> list[Row]:
    """Read a table that :func:`write_csv` wrote.

    Args:
        path: the file.
        header: its columns.
        parse: makes a row of the fields of one line; what it cannot read is a ValueError.

    Raises:
        ValueError: other columns, or a line that cannot be read (the message names it).
    """
    rows = []
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle)
        found = next(reader, [])
        if found != list(header):
            raise ValueError(
                f"{path}: expected the columns {','.join(header)}, found {','.join(found) or 'an empty file'}; "
                "run the evaluate stage again."
            )
        for fields in reader:
            try:
                if len(fields) != len(header):
                    raise ValueError(f"expected {len(header)} values, found {len(fields)}.")
                rows.append(parse(fields))
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {reader.line_num}: cannot read {','.join(fields)!r}: {error} "
                    "Run the evaluate stage again."
                ) from error
    return rows
