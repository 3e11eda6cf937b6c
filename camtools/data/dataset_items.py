"""What one item of ``dataset.json`` may contain, and the problems of other items."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any

from camtools.data.case_names import is_safe_case

__all__ = ["ITEM_KEYS", "item_problems", "nearest_name", "tag_problem", "unknown_keys"]

ITEM_KEYS = ("image", "label", "slice_labels", "patch_labels", "case")
# written by importers, or read by other tools
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
    """All problems of an item; its files are not opened."""
    problems = []
    for key in content:
        near = nearest_name(key.strip().casefold(), ITEM_KEYS, _OTHER_NAMES, cutoff=0.8)
        if near is not None and key not in (*ITEM_KEYS, *_NOTES):
            problems.append(
                f"expected the keys {', '.join(ITEM_KEYS)}, found the unknown key '{key}', which would be ignored. Did "
                f"you mean '{near}'? Rename the key."
            )
    if "image" not in content:
        problems.append(f"expected an 'image', found the keys {sorted(content)}. Add the path of the image.")
    problems += [_file_problem(key, what, content[key]) for key, what in _FILES.items() if key in content]
    problem = tag_problem(content["slice_labels"]) if "slice_labels" in content else ""
    problems.append(f"{problem} Correct 'slice_labels'." if problem else "")
    if "case" in content and not is_safe_case(content["case"]):
        problems.append(
            f"expected under 'case' a name such as 'p1/t2' (a relative path without '..'), found {content['case']!r}. "
            "Choose another name, or remove the key."
        )
    return [problem for problem in problems if problem]


def unknown_keys(content: Mapping[str, Any]) -> list[str]:
    """Keys of an item that camtools ignores."""
    return [key for key in content if key not in ITEM_KEYS and key not in _NOTES]


def tag_problem(tags: Any) -> str:
    """The problem of the slice tags of an item: they are a list of 0 and 1 (or booleans), or the path of a CSV.

    Returns:
        A sentence; empty where there is no problem.

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
    advice = "Add the path."
    if key == "image" and isinstance(value, list):
        advice = (
            "Write one 4D NIfTI file with the channels along the fourth axis: camtools channels FOLDER --output-dir "
            "DIR joins files that end in _0000, _0001, ..."
        )
    elif key != "image":
        advice = "Add the path, or remove the key where there is no file."
    return f"expected the path of one {what} under '{key}', found {_described(value)}. {advice}"


def _is_path(value: str) -> bool:
    """Whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _described(value: Any) -> str:
    """A value in the terms of JSON, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"a list of {len(value)} entries"
    if isinstance(value, dict):
        return f"an object with the keys {sorted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"the number {value}" if isinstance(value, (int, float)) else f"the text {value!r}"


def nearest_name(word: str, names: Sequence[str], others: Mapping[str, str], cutoff: float) -> str | None:
    """The known name that ``word`` probably stands for; None where no name is similar.

    Args:
        word: a name as the user wrote it, in lower case.
        names: the known names.
        others: usual other names, each with the known one.
        cutoff: 0..1, least similarity.

    Example:
        >>> nearest_name("lable", ["image", "label"], {"seg": "label"}, cutoff=0.8)
        'label'
    """
    if word in names:
        return word
    if word in others:
        return others[word]
    near = get_close_matches(word, names, n=1, cutoff=cutoff)
    return near[0] if near else None
