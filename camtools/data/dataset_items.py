"""What one item of ``dataset.json`` may say, and what is wrong with it otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any

from camtools.data.case_names import is_safe_case

__all__ = ["ITEM_KEYS", "item_problems", "tag_problem", "unknown_keys"]

ITEM_KEYS = ("image", "label", "slice_labels", "patch_labels", "case")
# what imports write beside them, and other tools that read the same file
_NOTES = frozenset({"patient", "slices", "positive_slices", "grade", "fold"})
_FILES = {"image": "image", "label": "mask", "patch_labels": "CSV of patch tags"}
_OTHER_NAMES = {
    "images": "image",
    "img": "image",
    "image_path": "image",
    "volume": "image",
    "mask": "label",
    "masks": "label",
    "labels": "label",
    "seg": "label",
    "segmentation": "label",
    "label_path": "label",
    "tags": "slice_labels",
    "slice_tags": "slice_labels",
    "patch_tags": "patch_labels",
}


def item_problems(content: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with an item, without a look at its files."""
    problems = []
    for key in content:
        near = _nearest_key(key)
        if near is not None:
            problems.append(
                f"found the unknown key '{key}', which would be passed over; expected {', '.join(ITEM_KEYS)}. Did "
                f"you mean '{near}'? Rename the key."
            )
    if "image" not in content:
        problems.append(f"the item has no 'image', found the keys {sorted(content)}. Name the image's file.")
    problems += [_file_problem(key, what, content[key]) for key, what in _FILES.items() if key in content]
    problem = tag_problem(content["slice_labels"]) if "slice_labels" in content else ""
    problems.append(f"{problem} Correct 'slice_labels'." if problem else "")
    if "case" in content and not is_safe_case(content["case"]):
        problems.append(
            f"expected under 'case' a name such as 'p1/t2' (a relative path without '..'), found {content['case']!r}. "
            "Choose another name, or leave the key out."
        )
    return [problem for problem in problems if problem]


def unknown_keys(content: Mapping[str, Any]) -> list[str]:
    """Keys of an item that camtools passes over."""
    return [key for key in content if key not in ITEM_KEYS and key not in _NOTES]


def tag_problem(tags: Any) -> str:
    """What is wrong with the slice tags of an item: a list of 0 and 1 (or true and false), or the path of a CSV.

    Returns:
        A sentence; empty where nothing is wrong.

    Example:
        >>> tag_problem([0, 1, 1]), tag_problem([0, None, 1])
        ('', 'expected a slice tag of 0 or 1, found null for slice 1.')
    """
    if isinstance(tags, str) and tags.strip():
        return ""
    if not isinstance(tags, (list, tuple)):
        return f"expected a list of slice tags (0 or 1) or the path of a CSV, found {_described(tags)}."
    if not tags:
        return "expected one tag for each slice, found an empty list."
    for index, tag in enumerate(tags):
        if not isinstance(tag, Real) or tag not in (0, 1):
            return f"expected a slice tag of 0 or 1, found {_described(tag)} for slice {index}."
    return ""


def _file_problem(key: str, what: str, value: Any) -> str:
    if isinstance(value, str) and value.strip() and _is_path(value):
        return ""
    advice = "Name the file." if key == "image" else "Name the file, or leave the key out where there is none."
    return f"expected the path of one {what} under '{key}', found {_described(value)}. {advice}"


def _is_path(value: str) -> bool:
    """Whether the file system can have a file of this name."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _described(value: Any) -> str:
    """A value in the words of JSON, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"a list of {len(value)} entries"
    if isinstance(value, dict):
        return f"an object with the keys {sorted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"the number {value}" if isinstance(value, (int, float)) else f"the text {value!r}"


def _nearest_key(key: str) -> str | None:
    """The key that an unknown one was meant for; None for a known one and for one that is like none."""
    if key in ITEM_KEYS or key in _NOTES:
        return None
    word = key.strip().casefold()
    if word in (*ITEM_KEYS, *_OTHER_NAMES):
        return _OTHER_NAMES.get(word, word)
    near = get_close_matches(word, ITEM_KEYS, n=1, cutoff=0.8)
    return near[0] if near else None
