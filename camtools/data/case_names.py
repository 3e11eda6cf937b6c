"""The name of a case: unique, independent of the other cases, and always a path below the folder of the results."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError
from camtools.data.file_kinds import DETACHED_SUFFIXES, IMAGE_SUFFIXES

__all__ = ["case_clashes", "case_name", "case_of_file", "is_safe_case", "output_file", "same_place", "with_cases"]

_DIGITS = 8


def case_of_file(path: str | Path, root: str | Path | None = None) -> str:
    """Name of the case of an image file: its path relative to the dataset's folder, without its image suffix.

    It depends on the path alone: a volume that is added later changes no other name. Two files with one name, such as
    ``a.nii`` and ``a.nii.gz``, are refused (:func:`case_clashes`). The name of a file outside the folder is its file
    name and 8 digits of the hash of its absolute path.

    Args:
        path: the file, absolute or relative to ``root``.
        root: folder of the dataset; None where there is none, which makes every absolute path an outside one.

    Example:
        >>> case_of_file("p1/t2.nii.gz"), case_of_file("./a.nii"), case_of_file("/data/p1/t2.nii.gz", "/data")
        ('p1/t2', 'a', 'p1/t2')
        >>> case_of_file("/data/p1/t2.nii.gz"), case_of_file("../p1/t2.nii.gz", "/data/set")
        ('t2-e9360736', 't2-e9360736')
    """
    inside = _inside(str(path), root)
    if inside is not None:
        return _without_suffix(inside.as_posix())
    place = Path(os.path.abspath(os.path.join(root or "", path)))
    digits = hashlib.sha256(place.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    return f"{_without_suffix(place.name)}-{digits}"


def _inside(path: str, root: str | Path | None) -> Path | None:
    """Path relative to the folder of the dataset; None for a path that leads out of it."""
    if root is None:
        relative = Path(os.path.normpath(path))
        return None if relative.is_absolute() or relative.parts[0] == ".." else relative
    base = Path(os.path.abspath(root))
    place = Path(os.path.normpath(base / path))
    for found, folder in ((place, base), (place.parent.resolve() / place.name, base.resolve())):
        if found.is_relative_to(folder):
            return found.relative_to(folder)
    return None


def _without_suffix(name: str) -> str:
    for suffix in (*IMAGE_SUFFIXES, *DETACHED_SUFFIXES):
        bare = name[: -len(suffix)]
        if name.lower().endswith(suffix) and bare and not bare.endswith("/"):
            return bare
    return name


def case_name(item: dict[str, Any]) -> str:
    """Name of the outputs of ``item``: its ``case``, else the case of its image (``case_of_file``)."""
    return str(item.get("case") or case_of_file(item["image"]))


def with_cases(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with their :func:`case_name` under ``case``, which items of MONAI Label lack.

    Raises:
        DataError: two items have one name.

    Example:
        >>> with_cases([{"image": "a.nii.gz"}])
        [{'image': 'a.nii.gz', 'case': 'a'}]
    """
    named = [item | {"case": case_name(item)} for item in items]
    clashes = case_clashes(named)
    if clashes:
        raise DataError("\n".join(clashes))
    return named


def same_place(case: str) -> str:
    """A form that is equal for names that some file systems do not distinguish: letter case, forms of Unicode.

    Example:
        >>> same_place("P1/T2") == same_place("p1/t2")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", case).casefold())


def case_clashes(items: Iterable[dict[str, Any]]) -> list[str]:
    """A message for every item with the case of an earlier item, or with a case that differs only in letter case.

    Args:
        items: items with ``image`` and ``case``.
    """
    first: dict[str, dict[str, Any]] = {}
    clashes = []
    for item in items:
        other = first.setdefault(same_place(item["case"]), item)
        if other is not item:
            names = " and ".join(f"'{name}'" for name in dict.fromkeys((other["case"], item["case"])))
            clashes.append(
                f"Expected a case name for each volume that no file system confuses with another, found {names} for "
                f"{other['image']} and {item['image']}: one would overwrite the results of the other. Rename a file, "
                "or list it only once."
            )
    return clashes


def is_safe_case(case: Any) -> bool:
    """Whether a name leads to a file below the folder of the results, for every such folder.

    Example:
        >>> [is_safe_case(case) for case in ("a", "p1/a", "", "/a", "../a", "p1/../a", "p1//a", 7)]
        [True, True, False, False, False, False, False, False]
    """
    if not isinstance(case, str) or re.search(r"[\x00-\x1f]", case) or Path(case).anchor:
        return False
    try:
        os.fsencode(case)
    except UnicodeEncodeError:
        return False
    return not set(re.split(r"[/\\]" if os.sep == "\\" or ".." in case else "/", case)) & {"", ".", ".."}


def output_file(folder: str | Path, case: str, suffix: str) -> Path:
    """File of one output of a case: ``folder/<case><suffix>``.

    Raises:
        DataError: the name leads out of the folder, or is not a valid name.

    Example:
        >>> output_file("predictions", "p1/t2", ".nii.gz").as_posix()
        'predictions/p1/t2.nii.gz'
    """
    if not is_safe_case(case):
        raise DataError(
            f"Expected as name of a case a relative path below {folder}, such as 'p1/t2', found {case!r}. "
            "Give the item another 'case'."
        )
    return Path(folder) / f"{case}{suffix}"
