"""Tags in CSV files: one row for each slice, or for each patch of a slice."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError

__all__ = ["PATCH_COLUMNS", "SLICE_COLUMNS", "PatchRows", "TagTables"]

SLICE_COLUMNS = ("image", "slice", "label")
PATCH_COLUMNS = ("image", "slice", "x", "y", "classes")
PatchRows = dict[tuple[int, int, int], list[int]]
"""Classes by slice and first pixel ``(slice, x, y)`` of a patch."""


class TagTables:
    """The tag files of a dataset, each read once."""

    def __init__(self) -> None:
        self._slices: dict[Path, dict[str, dict[int, int]]] = {}
        self._patches: dict[Path, dict[str, PatchRows]] = {}

    def slices(self, path: Path, image: str) -> list[int]:
        """Tags of the slices of one image, in order.

        Raises:
            DataError: other columns, no row for the image, or a slice without one.
        """
        if path not in self._slices:
            self._slices[path] = _read_slices(path)
        tags = _of_image(self._slices[path], path, image, "slice", SLICE_COLUMNS)
        missing = sorted(set(range(max(tags) + 1)) - set(tags))
        if missing:
            raise DataError(
                f"{path} has no tag for slice {missing[0]} of '{image}': expected one row per slice, from 0."
            )
        return [tags[index] for index in range(len(tags))]

    def patches(self, path: Path, image: str) -> list[tuple[int, int, int, list[int]]]:
        """Slice, first pixel and classes ``(slice, x, y, classes)`` of the patches of one image, sorted.

        Raises:
            DataError: other columns, no row for the image, or a patch without a class or named twice.
        """
        if path not in self._patches:
            self._patches[path] = _read_patches(path)
        rows = _of_image(self._patches[path], path, image, "patch", PATCH_COLUMNS)
        return [(*position, classes) for position, classes in sorted(rows.items())]


def _of_image(tables: dict[str, Any], path: Path, image: str, unit: str, columns: tuple[str, ...]) -> Any:
    found = tables.get(image) or tables.get(Path(image).name)
    if not found:
        raise DataError(f"{path} has no row for the image '{image}'. Add one row per {unit}: {','.join(columns)}.")
    return found


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if not set(columns) <= set(reader.fieldnames or []):
            raise DataError(f"{path} must have the columns {','.join(columns)}; found {reader.fieldnames}.")
        for row in reader:
            yield reader.line_num, row


def _read_slices(path: Path) -> dict[str, dict[int, int]]:
    tags: dict[str, dict[int, int]] = {}
    for line, row in _rows(path, SLICE_COLUMNS):
        try:
            tags.setdefault(row["image"], {})[int(row["slice"])] = int(row["label"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {line}: slice and label must be whole numbers, found {row}.") from error
    return tags


def _read_patches(path: Path) -> dict[str, PatchRows]:
    tags: dict[str, PatchRows] = {}
    for line, row in _rows(path, PATCH_COLUMNS):
        try:
            position = (int(row["slice"]), int(row["x"]), int(row["y"]))
            classes = [int(name) for name in row["classes"].split()]
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {line}: expected whole numbers after the image, found {row}.") from error
        if not classes:
            raise DataError(
                f"{path}, line {line}: expected the classes that the patch shows, such as '0' (background), '1' or "
                "'0 1', found none. Fill in the column classes."
            )
        if position in tags.setdefault(row["image"], {}):
            raise DataError(f"{path}, line {line}: a second row for the same patch of '{row['image']}'. Keep one.")
        tags[row["image"]][position] = classes
    return tags
