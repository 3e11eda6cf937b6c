"""Folds of nnU-Net: ``splits_final.json`` says which cases train and which validate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from camtools.data.errors import DataError
from camtools.data.importers.patients import Split

__all__ = ["SPLITS_NAME", "check_apart", "split_of_fold"]

SPLITS_NAME = "splits_final.json"
_LISTED = 5


def split_of_fold(path: Path, fold: int, training: Collection[str], test: Collection[str]) -> Split:
    """Split of a fold of ``splits_final.json``: ``train`` and ``val`` of the fold, and the test cases of the release.

    Training cases of the release that the fold does not name are in no split.

    Args:
        path: the file, a list of folds ``{"train": [case, ...], "val": [case, ...]}``.
        fold: number of the fold, from 0.
        training: names of the cases of ``imagesTr``.
        test: names of the labelled cases of ``imagesTs``, which may be none.

    Raises:
        DataError: no such file, other content, an unknown fold, an empty ``train`` or ``val``, a case that ``imagesTr``
            does not have, or one that is named twice.
    """
    listed = _fold(path, fold)
    named = [*listed["train"], *listed["val"]]
    unknown = sorted(set(named) - set(training))
    if unknown:
        raise DataError(
            f"Expected in fold {fold} the names of cases of imagesTr, found {len(unknown)} others in {path}: "
            f"{_some(unknown)}. Copy their files, or correct the file."
        )
    twice = sorted({case for case in named if named.count(case) > 1})
    if twice:
        raise DataError(
            f"Expected every case once in fold {fold}, found {_some(twice)} several times in {path}. A case that is "
            "trained on cannot validate: remove one of the names."
        )
    homes = dict.fromkeys(listed["train"], "training") | dict.fromkeys(listed["val"], "validation")
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()[:16]
    return Split(homes | dict.fromkeys(test, "test"), {"fold": fold, "cases_of_fold": digest})


def check_apart(split: Split, patients: Mapping[str, str]) -> None:
    """Stop where a patient has cases in training and in validation.

    Args:
        split: where every case goes.
        patients: name of the case -> patient.

    Raises:
        DataError: names the first few patients.
    """
    groups: dict[str, set[str]] = {"training": set(), "validation": set(), "test": set()}
    for case, home in split.of_case.items():
        groups[home].add(patients[case])
    shared = sorted(groups["training"] & groups["validation"])
    if shared:
        raise DataError(
            f"Expected every patient in training or in validation, found {len(shared)} in both: {_some(shared)}. "
            "Correct --patient, choose another --fold, or correct the file of the folds."
        )


def _fold(path: Path, fold: int) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(
            f"Expected the folds of nnU-Net in {path}, found no such file. Give it with --splits-file (nnU-Net keeps "
            "it in nnUNet_preprocessed), or leave out --fold."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Expected JSON, found something else in {path} ({error}). Copy the file again.") from error
    if not isinstance(content, list) or not content or not all(_is_fold(entry) for entry in content):
        raise DataError(
            f'Expected a list of folds such as {{"train": ["a"], "val": ["b"]}}, with cases in each, found something '
            f"else in {path}. Correct the file."
        )
    if not 0 <= fold < len(content):
        raise DataError(
            f"Expected a fold from 0 to {len(content) - 1}, found {fold} for {path}. Choose one of them with --fold."
        )
    return {key: list(content[fold][key]) for key in ("train", "val")}


def _is_fold(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    lists = [entry.get(key) for key in ("train", "val")]
    return all(isinstance(names, list) and names and all(isinstance(name, str) for name in names) for names in lists)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
