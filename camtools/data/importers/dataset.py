"""What all imports share: the folder with ``dataset.json``, written completely or not at all, and its summary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

from camtools.data.case_names import case_clashes
from camtools.data.dividing import SPLIT_NAMES
from camtools.data.errors import DataError
from camtools.data.files import atomic_folder, check_free_folder, write_json
from camtools.data.folders import broken_links
from camtools.data.geometry import stacking_axis
from camtools.data.importers.patients import Split

__all__ = [
    "Case",
    "Recipe",
    "check_folders",
    "describe_mask",
    "format_summary",
    "one_place_each",
    "stop_at",
    "stop_at_broken_links",
    "write_dataset",
]

_LISTED = 5


@dataclass(frozen=True)
class Case:
    """One volume to import.

    Attributes:
        name: its name, unique in the dataset.
        patient: the patient it shows; all cases of a patient are in one split.
        files: the files that it is made from.
    """

    name: str
    patient: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Recipe:
    """How the cases of one kind of release become a dataset.

    Attributes:
        name: name of the dataset.
        description: one sentence for ``dataset.json``.
        label: name of the object.
        modality: which images are taken.
        channels: names of the channels of an image, in order, for ``channel_names`` of ``dataset.json``; empty: one.
        write: writes one case into a folder and returns its item: ``image``, ``label`` (names in that folder),
            ``slices`` and ``positive_slices``.
        choices: other settings that distinguish one import from another.
    """

    name: str
    description: str
    label: str
    modality: str
    write: Callable[[Case, Path], dict[str, Any]]
    choices: Mapping[str, Any] = field(default_factory=dict)
    channels: Sequence[str] = ()


def check_folders(source: Path, out_dir: Path) -> None:
    """Stop when the source is missing, or the output would be inside it.

    Raises:
        DataError: ``source`` is not a folder, or ``out_dir`` is inside it.
    """
    if not source.is_dir():
        raise DataError(f"Expected the folder of a release, found none at {source}. Check the path.")
    if out_dir.resolve().is_relative_to(source.resolve()):
        raise DataError(f"Expected an output folder outside {source}, found {out_dir}. Choose another folder.")


def one_place_each(found: dict[str, list[Path]]) -> None:
    """Stop when a file of a case was found twice, as in an archive that holds the release twice.

    Args:
        found: name -> places.

    Raises:
        DataError: names the places of the first few.
    """
    twice = [places for _, places in sorted(found.items()) if len(places) > 1]
    if twice:
        listed = "\n".join(f"  {' and '.join(map(str, sorted(places)))}" for places in twice[:_LISTED])
        raise DataError(
            f"Expected every file of a case once, found {len(twice)} of them several times. Give the folder of one "
            f"copy. The first ones:\n{listed}"
        )


def stop_at(problems: Sequence[str], source: Path) -> None:
    """Stop when there are problems, and name all of them.

    Raises:
        DataError: there are some.
    """
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(f"Expected complete cases below {source}. Copy these files again:\n{listed}")


def stop_at_broken_links(paths: Sequence[Path], source: Path) -> None:
    """Stop where files of a release are links whose target is missing, and name all of them.

    Raises:
        DataError: there are some.
    """
    problems = broken_links(paths)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(
            f"Expected the files of all cases below {source}, found links to missing files. Fetch them "
            f"(datalad get, git annex get) or connect the disk that holds them:\n{listed}"
        )


def describe_mask(mask: NDArray[Any], affine: NDArray[Any]) -> dict[str, int]:
    """Count the slices and the slices that show the object, along the slice axis that camtools chooses.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((2, 2, 3), np.uint8)
        >>> mask[0, 0, 1] = 1
        >>> describe_mask(mask, np.eye(4))
        {'slices': 3, 'positive_slices': 1}
    """
    axis = stacking_axis(affine, mask.shape)
    shown = mask.any(axis=tuple(other for other in range(3) if other != axis))
    return {"slices": int(shown.size), "positive_slices": int(shown.sum())}


def write_dataset(
    cases: Sequence[Case],
    source: Path,
    out_dir: Path,
    recipe: Recipe,
    split: Split,
    skipped: Sequence[str] = (),
) -> Path:
    """Write a dataset, or keep the one that the same import wrote before.

    Files are written to a folder next to ``out_dir`` that is renamed at the end: ``out_dir`` is complete or absent.

    Args:
        cases: what to import.
        source: folder of the release; nothing is written there.
        out_dir: new or empty folder, or one that the same import of the same files wrote.
        recipe: how to write a case.
        split: where every case goes.
        skipped: names of cases left out, for the summary.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: a file that cannot be used.
        FileExistsError: ``out_dir`` is a file or holds something else.
    """
    clashes = case_clashes({"image": case.files[0], "case": case.name} for case in cases)
    if clashes:
        raise DataError("\n".join(clashes))
    record = {"release": recipe.name, "modality": recipe.modality, **recipe.choices, **split.choices}
    record["inputs"] = _fingerprint(cases, source)
    if _written_before(out_dir, record):
        return out_dir / "dataset.json"
    items: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLIT_NAMES}
    with atomic_folder(out_dir) as partial:
        for case in tqdm(sorted(cases, key=lambda case: case.name), desc="import", unit="case", disable=None):
            items[split.of_case[case.name]].append(recipe.write(case, partial) | {"patient": case.patient})
        labels = {"0": "background", "1": recipe.label}
        head: dict[str, Any] = {"name": recipe.name, "description": recipe.description, "labels": labels}
        if recipe.channels:
            head["channel_names"] = {str(number): name for number, name in enumerate(recipe.channels)}
        write_json(head | items | {"skipped": sorted(skipped), "import": record}, partial / "dataset.json")
    return out_dir / "dataset.json"


def format_summary(dataset_json: str | Path) -> str:
    """Table of an imported dataset: patients, cases, slices and positive slices by split, then what to know about it.

    Below the table are empty splits, patients of the test split that also have cases in other splits (in releases with
    their own test split), and skipped cases.

    Args:
        dataset_json: what an import returned.
    """
    content = json.loads(Path(dataset_json).read_text(encoding="utf-8"))
    lines = [f"{'split':<12}{'patients':>10}{'cases':>8}{'slices':>9}{'positive':>10}"]
    for name in SPLIT_NAMES:
        items = content[name]
        slices, positive = (sum(item[key] for item in items) for key in ("slices", "positive_slices"))
        patients = len({item["patient"] for item in items})
        lines.append(f"{name:<12}{patients:>10}{len(items):>8}{slices:>9}{positive:>10}")
    lines += [f"The release has no {name} cases: that split is empty." for name in SPLIT_NAMES if not content[name]]
    elsewhere = {item["patient"] for name in SPLIT_NAMES[:2] for item in content[name]}
    shared = sum(item["patient"] in elsewhere for item in content["test"])
    if shared:
        lines.append(
            f"{shared} of {len(content['test'])} test cases are of patients with training or validation cases too; the "
            "test split is the release's own."
        )
    if content["skipped"]:
        names = ", ".join(content["skipped"])
        reason = "without a segmentation"
        if "fold" in content.get("import", {}):
            reason += " or not in the fold"
        lines.append(f"Skipped {len(content['skipped'])} cases {reason}: {names}")
    return "\n".join(lines)


def _fingerprint(cases: Sequence[Case], source: Path) -> str:
    """Hash of the names, sizes and times of all input files; their content is too large to read twice."""
    digest = hashlib.sha256()
    for path in sorted(path for case in cases for path in case.files):
        status = path.stat()
        digest.update(f"{path.relative_to(source).as_posix()}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _written_before(out_dir: Path, record: dict[str, Any]) -> bool:
    """Whether ``out_dir`` holds the result of the same import; stop when it is a file or holds anything else."""
    before = _record_of(out_dir / "dataset.json")
    if before is None:
        check_free_folder(out_dir)
        return False
    other = [key for key in record if before.get(key) != record[key]]
    if other:
        raise FileExistsError(
            f"Expected {out_dir} to be a new or empty folder, found an earlier import that differs in "
            f"{', '.join(other)}. Choose another folder or remove this one."
        )
    return True


def _record_of(path: Path) -> dict[str, Any] | None:
    """The record of an import in ``dataset.json``; None if there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["import"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None
