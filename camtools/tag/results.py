"""The results of a folder: ``tags.csv`` or ``patches.csv``, and ``dataset.json``, in the documented format."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from camtools.data.dataset_json import SPLIT_NAMES
from camtools.data.files import atomic_path, file_hash, write_json
from camtools.data.tag_csv import PATCH_COLUMNS, SLICE_COLUMNS
from camtools.engine.records import read_json_object
from camtools.tag.listing import OWN_KEY, TagFolder, TagVolume
from camtools.tag.ranges import tags_of
from camtools.tag.records import Record

__all__ = [
    "TableText",
    "WrittenFiles",
    "columns_of",
    "dataset_content",
    "json_text",
    "merged_dataset",
    "patch_rows",
    "slice_rows",
]

Corners = Sequence[tuple[int, int]]
Rows = list[tuple[object, ...]]


def slice_rows(volume: TagVolume, record: Record) -> Rows:
    """Rows of one volume for ``tags.csv``.

    Example:
        >>> slice_rows(TagVolume("", "a", Path("a.nii"), "a.nii", slices=2), Record(ranges=((1, 1),)))
        [('a.nii', 0, 0), ('a.nii', 1, 1)]
    """
    return [(volume.image, index, tag) for index, tag in enumerate(tags_of(record.ranges, volume.slices))]


def patch_rows(volume: TagVolume, record: Record, corners: Corners) -> Rows:
    """Rows of one volume for ``patches.csv``, every patch of the grid."""
    rows: Rows = []
    for index in range(volume.slices):
        for number, (x, y) in enumerate(corners):
            classes = record.patches[f"{index}:{number}"]
            rows.append((volume.image, index, x, y, " ".join(map(str, classes))))
    return rows


class TableText:
    """Text of a table, put together from the text of its volumes, which is made once per revision."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._heading = _text([tuple(columns)])
        self._known: dict[str, tuple[int, str]] = {}

    def add(self, volume: TagVolume, record: Record, rows: Callable[[], Rows]) -> str:
        """Text of one volume; ``rows`` makes its rows where they are not known yet."""
        known = self._known.get(volume.case)
        if known is None or known[0] != record.revision:
            known = self._known[volume.case] = record.revision, _text(rows())
        return known[1]

    def whole(self, parts: Sequence[str]) -> str:
        """The table with its heading."""
        return self._heading + "".join(parts)


def _text(rows: Sequence[tuple[object, ...]]) -> str:
    handle = io.StringIO(newline="")
    csv.writer(handle, lineterminator="\n").writerows(rows)
    return handle.getvalue()


def columns_of(patches: bool) -> tuple[str, ...]:
    """Columns of the table of slices or of patches."""
    return PATCH_COLUMNS if patches else SLICE_COLUMNS


def dataset_content(
    folder: TagFolder,
    done: Sequence[TagVolume],
    home: Mapping[str, str],
    patients: Mapping[str, str],
    labels: Sequence[str],
    tags: Mapping[str, str],
    settings: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Content of a ``dataset.json`` of our own: the confirmed volumes by split.

    Args:
        folder: the folder.
        done: volumes whose tags are confirmed.
        home: split by patient.
        patients: patient by case.
        labels: names of the classes, the background first.
        tags: key and file of the tags, such as ``{"slice_labels": "tags.csv"}``.
        settings: of the split.
        before: the file as it is; what else it says about an item, such as a mask, is kept.
    """
    kept: dict[str, Any] = {}
    for split in SPLIT_NAMES:
        kept |= {item["image"]: item for item in before.get(split, []) if isinstance(item, dict) and "image" in item}
    content: dict[str, Any] = dict(before) | {"name": folder.root.name}
    content["labels"] = {str(number): name for number, name in enumerate(labels)}
    content[OWN_KEY] = dict(settings)
    for split in SPLIT_NAMES:
        content[split] = []
    for volume in done:
        patient = patients[volume.case]
        item = kept.get(volume.image, {}) | {"image": volume.image, **tags, "patient": patient}
        content[home[patient]].append(item)
    return content


def merged_dataset(before: Mapping[str, Any], done: Mapping[str, TagVolume], tags: Mapping[str, str]) -> dict[str, Any]:
    """Content of the user's own ``dataset.json`` with the confirmed tags; splits, masks and all else stay.

    Args:
        before: the file as it is.
        done: volumes whose tags are confirmed, by their path in the file.
        tags: key and file of the tags.
    """
    content = dict(before)
    for split in SPLIT_NAMES:
        items = []
        for raw in before.get(split, []):
            item = {"image": raw} if isinstance(raw, str) else dict(raw)
            if Path(item["image"]).as_posix() in done:
                item |= dict(tags)
            elif all(item.get(key) == name for key, name in tags.items()):
                item = {key: value for key, value in item.items() if key not in tags}
            items.append(raw if isinstance(raw, str) and item == {"image": raw} else item)
        if split in before:
            content[split] = items
    return content


class WrittenFiles:
    """Files that this command wrote, known by their hash: another program's change of them is noticed.

    Args:
        root: folder of the files.
        record: file that keeps the hashes.
    """

    def __init__(self, root: Path, record: Path) -> None:
        self.root = root
        self.record = record

    def is_foreign(self, name: str) -> bool:
        """Whether there is a file of this name that is not as it was written last."""
        path = self.root / name
        return path.is_file() and file_hash(path) not in self._hashes().get(name, [])

    def write(self, name: str, text: str) -> bool:
        """Write a file where its content differs; whether it did."""
        path, content = self.root / name, text.encode()
        with suppress(OSError):
            if path.read_bytes() == content:
                return False
        # before the file: after a crash it is one of the two
        hashes, found = self._hashes(), hashlib.sha256(content).hexdigest()
        write_json(hashes | {name: [found, *hashes.get(name, [])[:1]]}, self.record)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return True

    def _hashes(self) -> dict[str, list[str]]:
        return read_json_object(self.record)[0] or {}


def json_text(content: Mapping[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
