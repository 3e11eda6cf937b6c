"""The volumes of a folder to tag, from their headers; broken ones with the reason."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camtools.data.datalist import load_datalist
from camtools.data.errors import DataError, reason
from camtools.data.file_kinds import is_photograph
from camtools.data.folders import check_file, list_volumes
from camtools.data.geometry import SliceAxis, resolve_slice_axis
from camtools.data.headers import header_geometry
from camtools.data.slicing import dataset_slice_axis

__all__ = ["OWN_KEY", "TagFolder", "TagVolume", "own_dataset", "read_folder"]

logger = logging.getLogger("camtools")

OWN_KEY = "camtools_tag"
"""Key of a ``dataset.json`` that this command wrote."""


@dataclass
class TagVolume:
    """One volume.

    Attributes:
        id: name of it in addresses, from its case alone.
        case: name of the case.
        path: the file.
        image: path as in ``dataset.json``.
        slices: number of them; 0 where it is not known.
        problem: why it cannot be used; empty where nothing is wrong.
        split: where a ``dataset.json`` of the user's own puts it.
        given: tags that this ``dataset.json`` has already.
    """

    id: str
    case: str
    path: Path
    image: str
    slices: int = 0
    problem: str = ""
    split: str = ""
    given: list[int] | None = None


@dataclass
class TagFolder:
    """A folder, its volumes by id, and how they are cut into slices."""

    root: Path
    slice_axis: SliceAxis
    volumes: dict[str, TagVolume] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        """The hidden folder with the journal."""
        return self.root / ".camtools_tag"

    def of_case(self, case: str) -> TagVolume | None:
        """The volume of a case; None where the folder has none."""
        return self.volumes.get(_id_of(case))


def read_folder(folder: Path, images: str | None = None, slice_axis: SliceAxis = None) -> TagFolder:
    """List the volumes of a folder.

    Args:
        folder: with a ``dataset.json`` of the user's own, its volumes; else every image below the folder.
        images: pattern for the path below the folder or for the file name, such as ``"*_image.nii.gz"``.
        slice_axis: see :func:`camtools.data.dataset_slice_axis`.

    Raises:
        DataError: there is no such folder, no volume, or its ``dataset.json`` cannot be used.
    """
    root = Path(os.path.abspath(folder))
    state = root / ".camtools_tag"
    if state.is_symlink():
        raise DataError(f"Expected {state} to be a folder of camtools tag, found a link. Remove it.")
    items = _items(root)
    if images:
        kept = [item for item in items if _matches(_relative(item["image"], root), images)]
        if not kept:
            raise DataError(f"No volume of {root} matches --images '{images}', found {len(items)} others. Correct it.")
        items = kept
    found = TagFolder(root, dataset_slice_axis(items, slice_axis))
    for item in items:
        volume = _volume(item, root, found.slice_axis)
        found.volumes[volume.id] = volume
    return found


def own_dataset(path: Path) -> bool:
    """Whether a ``dataset.json`` is missing, or one that ``camtools tag`` wrote."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and OWN_KEY in content


def _items(root: Path) -> list[dict[str, Any]]:
    if own_dataset(root / "dataset.json"):
        return list_volumes(root)
    splits = {split: load_datalist(root, split) for split in ("training", "validation", "test")}
    return [item | {"split": split} for split, listed in splits.items() for item in listed]


def _matches(image: str, pattern: str) -> bool:
    return fnmatch.fnmatch(image, pattern) or fnmatch.fnmatch(Path(image).name, pattern)


def _relative(path: str, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _id_of(case: str) -> str:
    return hashlib.sha256(case.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _volume(item: dict[str, Any], root: Path, slice_axis: SliceAxis) -> TagVolume:
    path = Path(item["image"])
    volume = TagVolume(_id_of(item["case"]), item["case"], path, _relative(item["image"], root))
    volume.split = item.get("split", "")
    volume.given = item.get("slice_labels")
    try:
        volume.slices = _count_slices(path, slice_axis)
    except Exception as error:  # one file never stops the others
        volume.problem = reason(error)
        logger.warning("%s: %s", volume.case, volume.problem)
    return volume


def _count_slices(path: Path, slice_axis: SliceAxis) -> int:
    check_file(path)
    if is_photograph(path):
        return 1
    geometry = header_geometry(path)
    if geometry is None:
        from camtools.data.volumes import read_volume

        volume = read_volume(path)  # says what is wrong with the file
        geometry = volume.affine.numpy(), tuple(volume.shape[1:])
    affine, shape = geometry
    shape = _three(shape)
    return int(shape[resolve_slice_axis(affine, shape, slice_axis)])


def _three(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape, 1, 1, 1)[:3]
