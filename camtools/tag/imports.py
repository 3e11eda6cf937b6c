"""Tags that are there already: of a ``tags.csv`` that another program wrote, or of the user's own ``dataset.json``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from camtools.data.csv_table import read_table
from camtools.data.dataset_json import ListedItem
from camtools.data.errors import DataError
from camtools.data.tag_csv import SLICE_COLUMNS, TagTables
from camtools.tag.listing import TagVolume
from camtools.tag.ranges import ranges_of
from camtools.tag.store import TagStore

__all__ = ["take_in_csv", "take_in_given"]


def take_in_given(volumes: Iterable[TagVolume], store: TagStore) -> None:
    """Take the tags of the user's ``dataset.json`` as confirmed, of volumes of which nothing is known yet."""
    for volume in volumes:
        fits = volume.given is not None and len(volume.given) == volume.slices
        if fits and store.record(volume.case).revision == 0:
            _take_in(volume, list(volume.given or ()), store, "dataset.json")


def take_in_csv(path: Path, volumes: Iterable[TagVolume], store: TagStore) -> int:
    """Take the tags of a table as confirmed where they differ from what is known.

    Returns:
        Number of volumes whose tags changed.

    Raises:
        DataError: the table cannot be read, or has tags that do not fit a volume.
    """
    usable = [volume for volume in volumes if not volume.problem]
    rows = read_table(path, SLICE_COLUMNS)
    names = {row.cells["image"].replace("\\", "/") for row in rows}
    items = [ListedItem(str(path), volume.image, volume.case, {"slice_labels": path.name}) for volume in usable]
    tables = TagTables(path.parent, items)
    found = []
    for volume in usable:
        if not any(volume.image == name or volume.image.endswith(f"/{name}") for name in names):
            continue
        tags = tables.slices(path, volume.image)
        if len(tags) != volume.slices:
            raise DataError(
                f"{path}: expected {volume.slices} tags for '{volume.image}', one per slice, found {len(tags)}. "
                "Correct the table."
            )
        found.append((volume, tags))
    return sum(_take_in(volume, tags, store, path.name) for volume, tags in found)


def _take_in(volume: TagVolume, tags: list[int], store: TagStore, source: str) -> bool:
    record = store.record(volume.case)
    ranges = ranges_of(tags)
    if record.status == "done" and record.ranges == ranges:
        return False
    change = {"ranges": [list(pair) for pair in ranges], "first": None, "status": "done"}
    store.act(volume.case, record.revision, change, by=source)
    return True
