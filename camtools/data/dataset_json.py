"""The file ``dataset.json``: read completely, and refused with a list of all its problems."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_clashes, case_of_file
from camtools.data.dataset_items import item_problems, nearest_name, unknown_keys
from camtools.data.dividing import SPLIT_NAMES
from camtools.data.errors import DataError, warn_once
from camtools.data.file_kinds import is_image_name

__all__ = ["SPLIT_NAMES", "ListedItem", "raise_problems", "read_dataset_json"]

_OTHER_NAMES = {
    "train": "training",
    "tr": "training",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "dev": "validation",
    "testing": "test",
    "ts": "test",
}
_ENDINGS = re.compile(r"([_ -]?(set|data|split|list|item|image|file|case))?s?$")


@dataclass(frozen=True)
class ListedItem:
    """One item of a split.

    Attributes:
        place: its place in the file, such as ``dataset.json, training[3] (p1/t2.nii.gz)``.
        image: path of its image as in the file.
        case: its name, unique over all splits.
        content: its keys and values.
    """

    place: str
    image: str
    case: str
    content: Mapping[str, Any]


def read_dataset_json(path: Path) -> dict[str, list[ListedItem]]:
    """Items by name of the split.

    Raises:
        DataError: the file is missing, is not a JSON object, has a list of volumes that is not named after a split,
            lists no volumes, has an item with a problem, or lists a volume twice. The message lists all problems.
    """
    content = _parse(path)
    problems = _split_problems(path, content)
    raws = {name: content.get(name, []) for name in SPLIT_NAMES}
    raws = {name: listed if isinstance(listed, list) else [] for name, listed in raws.items()}
    if not any(raws.values()) and not problems:
        raise DataError(
            f"Expected items under 'training', 'validation' or 'test', found the keys {sorted(content)} in {path}. Add "
            "the lists, or give a folder of volumes without a dataset.json."
        )
    splits: dict[str, list[ListedItem]] = {name: [] for name in SPLIT_NAMES}
    for split, listed in raws.items():
        for index, raw in enumerate(listed):
            item, found = _item(path, f"{split}[{index}]", raw)
            problems += found
            if item is not None:
                splits[split].append(item)
    problems += _repeats(path.parent, splits)
    raise_problems(path, problems)
    _warn_of_unknown_keys(path, splits)
    return splits


def raise_problems(path: Path, problems: list[str]) -> None:
    """Raise one error that lists all problems, if there are any."""
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError(f"{path} has {len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems))


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            f"Expected {path}, found no such file. Write it in the Medical Segmentation Decathlon layout "
            "(lists of {'image', 'label' or 'slice_labels'} under 'training', 'validation', 'test')."
        )
    try:
        # from bytes, so that UTF-16 and byte order marks are recognised
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        comma = error.doc[: error.pos].rstrip().endswith(",") or "trailing comma" in error.msg
        hint = " Remove the comma after the last entry." if comma else ""
        raise DataError(
            f"Expected valid JSON, found an error in line {error.lineno} ({error.msg}) of {path}.{hint} Correct it."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"Expected text in UTF-8, found {error.reason} in {path}. Save it as UTF-8.") from error
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be used: {error}. Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"Expected a JSON object with lists of volumes, found {type(content).__name__} in {path}. Correct the file."
        )
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"expected every key of an object once, found {twice[0]!r} several times")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise DataError(f"expected numbers that are JSON, found {name}")


def _split_problems(path: Path, content: Mapping[str, Any]) -> list[str]:
    """Problems of splits that are not lists, and of lists of volumes under other names."""
    problems = []
    for name, value in content.items():
        near = _nearest_split(name)
        if name in SPLIT_NAMES:
            if not isinstance(value, list):
                found = "null" if value is None else type(value).__name__
                problems.append(
                    f"{path}: expected a list of volumes under '{name}', found {found}. Write [] or remove the key."
                )
        elif near and value and isinstance(value, (list, dict)):
            problems.append(
                f"{path}: expected the splits {', '.join(SPLIT_NAMES)}, found the unknown split '{name}', which would "
                f"be ignored. Did you mean '{near}'? Rename the key."
            )
        elif isinstance(value, list) and any(_is_volume(entry) for entry in value):
            problems.append(
                f"{path}: expected lists of volumes under {', '.join(SPLIT_NAMES)}, found a list of volumes under "
                f"'{name}', which would be ignored. Rename the key or remove the list."
            )
    return problems


def _nearest_split(name: str) -> str | None:
    return nearest_name(_ENDINGS.sub("", name.strip().casefold()), SPLIT_NAMES, _OTHER_NAMES, cutoff=0.75)


def _is_volume(entry: Any) -> bool:
    return (isinstance(entry, dict) and "image" in entry) or (isinstance(entry, str) and is_image_name(entry))


def _item(path: Path, place: str, raw: Any) -> tuple[ListedItem | None, list[str]]:
    """An item, or None and its problems."""
    content = {"image": raw} if isinstance(raw, str) else raw
    if not isinstance(content, dict):
        found = "null" if raw is None else type(raw).__name__
        return None, [f"{path}, {place}: expected an object with 'image' or the path of an image, found {found}."]
    image = content.get("image")
    named = f"{path}, {place} ({image})" if isinstance(image, str) else f"{path}, {place}"
    problems = [f"{named}: {problem}" for problem in item_problems(content)]
    if problems or not isinstance(image, str):
        return None, problems
    case = content.get("case") or case_of_file(image, path.parent)
    return ListedItem(named, image, str(case), content), problems


def _repeats(root: Path, splits: Mapping[str, list[ListedItem]]) -> list[str]:
    """Problems of volumes that are listed twice, also under several names, and of cases that share a name."""
    problems: list[str] = []
    first: dict[Any, ListedItem] = {}
    distinct = []
    for item in (item for listed in splits.values() for item in listed):
        other = first.setdefault(_identity(root / item.image), item)
        if other is item:
            distinct.append({"image": item.place, "case": item.case})
        else:
            problems.append(
                f"{item.place}: expected every volume once in all splits, found the file of {other.place} again. "
                "Remove one of the two: a volume that is trained on is no test."
            )
    return problems + case_clashes(distinct)


def _identity(path: Path) -> Any:
    """A value that is equal for all paths to one file, also through links and hard links."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _warn_of_unknown_keys(path: Path, splits: Mapping[str, list[ListedItem]]) -> None:
    counts = Counter(key for listed in splits.values() for item in listed for key in unknown_keys(item.content))
    for key, count in sorted(counts.items()):
        warn_once(f"{path}: the key '{key}' of {count} items is not read")
