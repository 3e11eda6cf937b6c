"""Tags in CSV files: one row per slice, or per patch of a slice."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from camtools.data.csv_table import TableRow, read_table
from camtools.data.dataset_json import ListedItem
from camtools.data.errors import DataError, warn_once

__all__ = ["PATCH_COLUMNS", "SLICE_COLUMNS", "PatchRows", "TagTables"]

SLICE_COLUMNS = ("image", "slice", "label")
PATCH_COLUMNS = ("image", "slice", "x", "y", "classes")
PatchRows = dict[tuple[int, int, int], list[int]]
"""Classes by slice and first pixel ``(slice, x, y)`` of a patch."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")  # spreadsheets write 1 as 1.0
_SHOWN = 5


class TagTables:
    """The tag files of a dataset, each read once.

    A row names its image by the path in ``dataset.json``, or by the end of this path, such as the file name. The end
    must be unique among the images whose tags are in the table.

    Args:
        root: folder of ``dataset.json``.
        items: all items of the dataset.
    """

    def __init__(self, root: Path, items: Sequence[ListedItem]) -> None:
        self._images = {_plain(item.image) for item in items}
        self._users: dict[str, set[str]] = defaultdict(set)
        self._tables: dict[tuple[str, str], _Table] = {}
        for item in items:
            for key in ("slice_labels", "patch_labels"):
                if isinstance(item.content.get(key), str):
                    self._users[os.path.realpath(root / item.content[key])].add(_plain(item.image))

    def slices(self, path: Path, image: str) -> list[int]:
        """Tags of the slices of one image, in order.

        Raises:
            DataError: the table cannot be read or has other columns; it has no row for the image or for one of its
                slices, or rows that contradict each other; a row has no slice, or a label other than 0 and 1; or a name
                stands for several images.
        """
        rows = self._rows(path, image, "slice", SLICE_COLUMNS)
        tags: dict[int, int] = {}
        lines: dict[int, int] = {}
        for row in rows:
            index, tag = _number(row, "slice"), _number(row, "label")
            if tags.setdefault(index, tag) != tag:
                raise DataError(
                    f"{path}, lines {lines[index]} and {row.line}: expected one label for slice {index} of '{image}', "
                    f"found {tags[index]} and {tag}. Keep one of the rows."
                )
            if lines.setdefault(index, row.line) != row.line:
                warn_once(f"{path}, line {row.line}: slice {index} of '{image}' is listed twice, with the same label")
        _check_whole(path, image, tags, "tag")
        return [tags[index] for index in range(len(tags))]

    def patches(self, path: Path, image: str) -> list[tuple[int, int, int, list[int]]]:
        """Slice, first pixel and classes ``(slice, x, y, classes)`` of the patches of one image, sorted.

        Raises:
            DataError: as for :meth:`slices`; or a patch has no class or is named twice.
        """
        found: PatchRows = {}
        for row in self._rows(path, image, "patch", PATCH_COLUMNS):
            patch = _number(row, "slice"), _number(row, "x"), _number(row, "y")
            if patch in found:
                raise DataError(
                    f"{path}, line {row.line}: expected one row per patch, found a second row for one of '{image}'. "
                    "Keep one of the rows."
                )
            found[patch] = [int(float(name)) for name in row.cells["classes"].split()]
        _check_whole(path, image, {index for index, _, _ in found}, "row")
        return [(*position, classes) for position, classes in sorted(found.items())]

    def _rows(self, path: Path, image: str, unit: str, columns: tuple[str, ...]) -> list[TableRow]:
        key = (os.path.realpath(path), unit)
        if key not in self._tables:
            self._tables[key] = _Table(path, columns, self._users[key[0]], self._images)
        table, name = self._tables[key], _plain(image)
        if name in table.unclear:
            raise DataError(table.unclear[name])
        if not table.rows.get(name):
            raise DataError(
                f"Expected a row for the image '{image}', found rows for {_some(table.names)} in {path}. Add one row "
                f"per {unit}: {','.join(columns)}."
            )
        return table.rows[name]


class _Table:
    """Rows of one file by image; ``unclear`` has a message for each image that shares its rows with another."""

    def __init__(self, path: Path, columns: tuple[str, ...], users: set[str], images: set[str]) -> None:
        rows = read_table(path, columns)
        problems = list(filter(None, (_row_problem(path, row, columns) for row in rows)))
        if problems:
            raise DataError("\n".join(problems[:_SHOWN]))
        self.names = sorted({row.cells["image"] for row in rows})
        self.rows: dict[str, list[TableRow]] = defaultdict(list)
        self.unclear: dict[str, str] = {}
        homes = {name: _named(_plain(name), users) for name in self.names}
        for row in rows:
            for home in homes[row.cells["image"]]:
                self.rows[home].append(row)
        for name, found in homes.items():
            if len(found) > 1:
                message = (
                    f"{path}: expected names that stand for one image each, found '{name}' for {_some(found)}. Write "
                    "the paths of dataset.json into the column image."
                )
                self.unclear |= dict.fromkeys(found, message)
        unknown = [name for name in self.names if not homes[name] and not _named(_plain(name), images)]
        if unknown:
            warn_once(f"{path}: rows for {_some(unknown)}, which dataset.json does not list, are not read")


def _named(name: str, images: Iterable[str]) -> list[str]:
    """The images that a name stands for: the one with this path, else all whose path ends with the name."""
    images = sorted(images)
    return [name] if name in images else [image for image in images if image.endswith(f"/{name}")]


def _plain(name: str) -> str:
    """A path in one form for all systems: without ``./``, with slashes and composed letters."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/")))


def _row_problem(path: Path, row: TableRow, columns: Sequence[str]) -> str:
    """The problem of one row; empty where there is none."""
    cells = row.cells
    where = f"{path}, line {row.line}"
    if not cells["image"]:
        return f"{where}: expected the name of an image, found none. Fill in the column image."
    if "label" in columns:
        if not all(_NUMBER.fullmatch(cells[key]) for key in ("slice", "label")):
            return f"{where}: expected whole numbers for slice and label, found {cells}. Correct the row."
        if float(cells["label"]) not in (0, 1):
            return f"{where}: expected a label of 0 or 1, found {cells['label']}. Correct the row."
    else:
        if not all(_NUMBER.fullmatch(cells[key]) for key in ("slice", "x", "y")):
            return f"{where}: expected whole numbers after the image, found {cells}. Correct the row."
        if not cells["classes"]:
            return (
                f"{where}: expected the classes that the patch shows, such as '0' (background), '1' or '0 1', found "
                "none. Fill in the column classes."
            )
        if not all(_NUMBER.fullmatch(name) for name in cells["classes"].split()):
            return f"{where}: expected classes that are whole numbers, found '{cells['classes']}'. Correct the row."
    if float(cells["slice"]) < 0:
        return f"{where}: expected slices that are counted from 0, found {cells['slice']}. Correct the row."
    return ""


def _number(row: TableRow, key: str) -> int:
    return int(float(row.cells[key]))


def _check_whole(path: Path, image: str, found: Iterable[int], what: str) -> None:
    """Raise an error where a slice between 0 and the last one has no row."""
    numbers = set(found)
    missing = next(index for index in count() if index not in numbers)
    if missing == len(numbers):
        return
    advice = "Add the missing rows."
    if 0 not in numbers and min(numbers) == 1 and max(numbers) == len(numbers):
        advice = f"The rows seem to be counted from 1 (1 to {len(numbers)}). Correct them: subtract 1 from each."
    raise DataError(
        f"Expected one row per slice, from 0, found no {what} for slice {missing} of '{image}' in {path}. {advice}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more if names else "none"
