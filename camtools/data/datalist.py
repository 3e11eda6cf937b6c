"""Lists of volumes: from ``dataset.json`` with its tags, or from a plain folder of images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_name, case_of_file
from camtools.data.dataset_json import SPLIT_NAMES, ListedItem, raise_problems, read_dataset_json
from camtools.data.errors import DataError
from camtools.data.file_kinds import IMAGE_SUFFIXES, is_image_name, is_itk_file, is_photograph
from camtools.data.folders import list_volumes
from camtools.data.tag_csv import TagTables

__all__ = [
    "IMAGE_SUFFIXES",
    "case_name",
    "is_itk_file",
    "is_photograph",
    "list_volumes",
    "load_datalist",
    "volumes_in",
]


def load_datalist(dataset_dir: str | Path | None, split: str, labels: bool = True) -> list[dict[str, Any]]:
    """Items of one split of ``dataset_dir/dataset.json`` (Medical Segmentation Decathlon layout).

    Args:
        dataset_dir: folder with ``dataset.json`` and the files it names by relative path; None is refused.
        split: ``"training"``, ``"validation"`` or ``"test"``; a split that is absent is an empty list.
        labels: keep the ``label`` key (mask). Without it an item has only its image and its tags.

    Returns:
        One dictionary per volume: ``image`` and ``label`` as absolute paths; ``slice_labels`` as a list of 0 and 1
        where tags are given (inline or in a CSV with the columns ``image,slice,label``); ``patch_labels`` where the
        tags of patches are given (:class:`camtools.data.PatchTagger`); ``patient`` where it is given, as text; and
        ``case``, a name that is unique over all splits (by default ``camtools.data.case_names.case_of_file``).

    Raises:
        DataError: ``dataset.json`` is missing or malformed (see ``read_dataset_json``), names a file that does not
            exist, or has tags that cannot be used. The message lists all problems of the split. Only an image that is
            a broken link is accepted here: reading it raises the error.
    """
    if split not in SPLIT_NAMES:
        raise DataError(f"Expected one of the splits {', '.join(SPLIT_NAMES)}, found '{split}'. Correct the name.")
    if dataset_dir is None:
        raise DataError("Expected a folder with dataset.json, found none. Give it with --dataset_dir DIR.")
    root = Path(os.path.abspath(dataset_dir))
    listed = read_dataset_json(root / "dataset.json")
    reader = _ItemReader(root, TagTables(root, [item for items in listed.values() for item in items]))
    items = [reader.read(item, labels) for item in listed[split]]
    raise_problems(root / "dataset.json", list(dict.fromkeys(reader.problems)))
    return items


def volumes_in(folder: str | Path) -> list[dict[str, Any]]:
    """Volumes to segment: the test split where ``folder`` has a ``dataset.json``, else every image below it.

    The path of one image is a list of that image.

    Raises:
        DataError: the file has no test split; or as for :func:`load_datalist` and :func:`list_volumes`.
    """
    if os.path.isfile(folder) and is_image_name(folder):
        image = Path(os.path.abspath(folder))
        return [{"image": str(image), "case": case_of_file(image, image.parent)}]
    path = Path(folder) / "dataset.json"
    if not os.path.lexists(path):
        return list_volumes(folder)
    items = load_datalist(folder, "test")
    if not items:
        raise DataError(
            f"Expected items under 'test' to segment, found none in {path}. Add the split, or give a folder of volumes "
            "without a dataset.json, such as its imagesTs."
        )
    return items


class _ItemReader:
    """Reads the files and tags of items, and collects their problems."""

    def __init__(self, root: Path, tables: TagTables) -> None:
        self.root = root
        self.tables = tables
        self.problems: list[str] = []

    def read(self, listed: ListedItem, labels: bool) -> dict[str, Any]:
        item: dict[str, Any] = {"image": str(self.root / listed.image), "case": listed.case}
        if listed.content.get("patient") is not None:
            item["patient"] = str(listed.content["patient"])
        steps = [self._image, self._label, self._tags] if labels else [self._image, self._tags]
        for step in steps:
            try:
                item |= step(listed)
            except DataError as error:
                self.problems.append(str(error))
        return item

    def _image(self, listed: ListedItem) -> dict[str, Any]:
        return {"image": str(self._file(listed, "image"))}

    def _label(self, listed: ListedItem) -> dict[str, Any]:
        if "label" not in listed.content:
            return {}
        image, mask = self.root / listed.image, self._file(listed, "label")
        if os.path.exists(mask) and os.path.exists(image) and os.path.samefile(mask, image):
            raise DataError(f"{listed.place}: expected a mask under 'label', found the image itself. Give its mask.")
        return {"label": str(mask)}

    def _tags(self, listed: ListedItem) -> dict[str, Any]:
        """Slice tags, inline or from a CSV, and patch tags from a CSV; patch tags imply slice tags."""
        tags: dict[str, Any] = {}
        slices = listed.content.get("slice_labels")
        if "patch_labels" in listed.content:
            patches = self.tables.patches(self._file(listed, "patch_labels"), listed.image)
            tags["patch_labels"] = patches
            positive = {index for index, _, _, classes in patches if any(classes)}
            tags["slice_labels"] = [int(index in positive) for index in range(max(row[0] for row in patches) + 1)]
        if isinstance(slices, str):
            slices = self.tables.slices(self._file(listed, "slice_labels"), listed.image)
        return tags if slices is None else tags | {"slice_labels": [int(tag) for tag in slices]}

    def _file(self, listed: ListedItem, key: str) -> Path:
        """Absolute path of a file; links are kept, because the name of their target may have no suffix."""
        name = str(listed.content[key])
        path = self.root / name
        broken = os.path.islink(path) and not os.path.exists(path)
        if not os.path.isfile(path) and not broken:
            found = "is a folder" if os.path.isdir(path) else "does not exist"
            advice = ", with / between folders" if "\\" in name else ""
            raise DataError(
                f"Expected a file for the {key} '{name}' of {self.root / 'dataset.json'}, found that {path} {found}. "
                f"Correct the path{advice}."
            )
        return path
