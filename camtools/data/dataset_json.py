"""The file ``dataset.json``: read whole, and refused with all that is wrong with it at once."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from camtools.data.case_names import case_clashes, case_of_file
from camtools.data.dataset_items import item_problems, unknown_keys
from camtools.data.errors import DataError
from camtools.data.suffixes import is_image_name

__all__ = ["SPLIT_NAMES", "ListedItem", "raise_problems", "read_dataset_json"]

logger = logging.getLogger("camtools")

SPLIT_NAMES = ("training", "validation", "test")
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
        place: where it stands, such as ``dataset.json, training[3] (p1/t2.nii.gz)``.
        image: its image as the file names it.
        case: its name, unique over all splits.
        content: what the file says about it.
    """

    place: str
    image: str
    case: str
    content: Mapping[str, Any]


def read_dataset_json(path: Path) -> dict[str, list[ListedItem]]:
    """Items by name of the split.

    Raises:
        DataError: the file is missing, is no JSON object, has lists of volumes under other names than those of the
            splits, lists no volumes, has items that are not what they should be, or lists a volume twice. All
            problems are named at once.
    """
    content = _parse(path)
    problems = _split_problems(path, content)
    raws = {name: content.get(name, []) for name in SPLIT_NAMES}
    raws = {name: listed if isinstance(listed, list) else [] for name, listed in raws.items()}
    if not any(raws.values()) and not problems:
        raise DataError(
            f"{path} lists no volumes: expected items under 'training', 'validation' or 'test', "
            f"found the keys {sorted(content)}. Add the lists, or give a folder of volumes without a dataset.json."
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
    """Raise one error that lists all problems; nothing where there are none."""
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
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}).{hint} Correct the file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error.reason}). Save the file as UTF-8.") from error
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be used: {error}. Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object with lists of volumes, found {type(content).__name__}.")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"expected every key of an object once, found {twice[0]!r} several times")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise DataError(f"expected numbers that are JSON, found {name}")


def _split_problems(path: Path, content: Mapping[str, Any]) -> list[str]:
    """Splits that are no lists, and lists of volumes under other names."""
    problems = []
    for name, value in content.items():
        near = _nearest_split(name)
        if name in SPLIT_NAMES:
            if not isinstance(value, list):
                found = "null" if value is None else type(value).__name__
                problems.append(
                    f"{path}: expected a list of volumes under '{name}', found {found}. Write [] or leave the key out."
                )
        elif near and value and isinstance(value, (list, dict)):
            problems.append(
                f"{path}: found the unknown split '{name}', which would be passed over; expected one of "
                f"{', '.join(SPLIT_NAMES)}. Did you mean '{near}'? Rename the key."
            )
        elif isinstance(value, list) and any(_is_volume(entry) for entry in value):
            problems.append(
                f"{path}: found a list of volumes under '{name}', which would be passed over; expected them under "
                f"{', '.join(SPLIT_NAMES)}. Rename the key or remove the list."
            )
    return problems


def _nearest_split(name: str) -> str | None:
    word = _ENDINGS.sub("", name.strip().casefold())
    if word in (*SPLIT_NAMES, *_OTHER_NAMES):
        return _OTHER_NAMES.get(word, word)
    near = get_close_matches(word, SPLIT_NAMES, n=1, cutoff=0.75)
    return near[0] if near else None


def _is_volume(entry: Any) -> bool:
    return (isinstance(entry, dict) and "image" in entry) or (isinstance(entry, str) and is_image_name(entry))


def _item(path: Path, place: str, raw: Any) -> tuple[ListedItem | None, list[str]]:
    """An item, or None and what is wrong with it."""
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
    """Volumes that are listed twice, under one name or as one file by several, and other cases of one name."""
    problems: list[str] = []
    first: dict[Any, ListedItem] = {}
    distinct = []
    for item in (item for listed in splits.values() for item in listed):
        other = first.setdefault(_identity(root / item.image), item)
        if other is item:
            distinct.append({"image": item.place, "case": item.case})
        else:
            problems.append(
                f"{item.place}: expected every volume once in all splits, found the file of {other.place} again. A "
                "volume that is trained on cannot be a test: remove one of the two."
            )
    return problems + case_clashes(distinct)


def _identity(path: Path) -> Any:
    """What two paths to one file share, be it through links or hard links."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _warn_of_unknown_keys(path: Path, splits: Mapping[str, list[ListedItem]]) -> None:
    counts = Counter(key for listed in splits.values() for item in listed for key in unknown_keys(item.content))
    for key, count in sorted(counts.items()):
        _warn_once(f"{path}: the key '{key}' of {count} items is not read")


@lru_cache(maxsize=1024)
def _warn_once(message: str) -> None:
    # the list is read once for every split and stage of a run
    logger.warning(message)
