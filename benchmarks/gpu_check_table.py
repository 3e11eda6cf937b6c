"""Rows of ``gpu_check.py`` and the table that they make, written after every row."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Result = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was run.
        value: what was measured; None where nothing was.
        unit: of the value.
        reference: what the value is to be compared with, or the limit that it has to keep.
        result: a measurement without a limit passes when it is a finite number.
        reason: why a row failed or was skipped.
        check: the check that the row is from.
    """

    what: str
    value: float | None = None
    unit: str = ""
    reference: str = ""
    result: Result = "pass"
    reason: str = ""
    check: str = ""


def measured(what: str, value: float, unit: str, reference: str = "") -> Row:
    """A measurement without a limit."""
    if math.isfinite(value):
        return Row(what, value, unit, reference)
    return Row(what, None, unit, reference, "fail", f"expected a finite number, found {value}")


def at_most(what: str, value: float, unit: str, limit: float) -> Row:
    """A measurement that must not exceed its limit; NaN exceeds it."""
    row = measured(what, value, unit, f"at most {limit:g}")
    if value <= limit or row.result == "fail":
        return row
    return Row(what, value, unit, row.reference, "fail", "above the limit")


def at_least(what: str, value: float, unit: str, limit: float) -> Row:
    """A measurement that must reach its limit."""
    row = measured(what, value, unit, f"at least {limit:g}")
    if value >= limit or row.result == "fail":
        return row
    return Row(what, value, unit, row.reference, "fail", "below the limit")


def skipped(what: str, reason: str) -> Row:
    """Something that cannot be run here."""
    return Row(what, result="skipped", reason=reason)


def failed(what: str, reason: str) -> Row:
    """Something that raised, ended with an error or took too long."""
    return Row(what, result="fail", reason=reason)


@dataclass
class Table:
    """All rows so far, in ``folder/gpu_check.md`` and ``folder/gpu_check.json``.

    Attributes:
        folder: where the files go; it is made if need be.
        header: what the rows were measured on, name to value.
        rows: in the order in which they came.
    """

    folder: Path
    header: dict[str, str]
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Append a row and write both files."""
        self.rows.append(row)
        self.save()

    def save(self) -> None:
        """Write both files under a temporary name and rename them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"header": self.header, "rows": [asdict(row) for row in self.rows]}
        write(self.folder / "gpu_check.md", self.markdown())
        write(self.folder / "gpu_check.json", json.dumps(content, indent=1) + "\n")

    def markdown(self) -> str:
        """The header as a list and the rows as a table."""
        lines = [f"- {name}: {value}" for name, value in self.header.items()]
        lines += ["", "| check | what | value | unit | reference or limit | result |", "|---|---|---|---|---|---|"]
        lines += [markdown_line(row) for row in self.rows]
        return "\n".join(lines) + "\n"

    @property
    def passed(self) -> bool:
        """Whether no row failed."""
        return all(row.result != "fail" for row in self.rows)


def markdown_line(row: Row) -> str:
    """One line of a Markdown table."""
    value = "" if row.value is None else f"{row.value:.4g}"
    result = f"{row.result}: {row.reason}" if row.reason else row.result
    cells = [row.check, row.what, value, row.unit, row.reference, result]
    return "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |"


def write(path: Path, text: str) -> None:
    """Replace a file in one step."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)
