"""The GlaS challenge (Warwick-QU): stained sections of the colon as 2D images, with the glands as object."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camtools.data.errors import DataError
from camtools.data.folders import files_below
from camtools.data.importers.dataset import (
    Case,
    Recipe,
    check_folders,
    describe_mask,
    one_place_each,
    stop_at,
    stop_at_broken_links,
    write_dataset,
)
from camtools.data.importers.patients import Split, check_held_out, held_out_patients

__all__ = ["import_glas"]

_DESCRIPTION = (
    "GlaS, H&E stained sections of the colon; label 0 = background, 1 and up = glands (each with a number of its own "
    "where the release has them)"
)
# Columns of name, patient and grade.
_TABLES = {"grade.csv": ("name", "patient ID", "grade (GlaS)"), "metadata.csv": ("name", "patient", "grade")}
_RELEASE_FILE = re.compile(r"(?P<name>(train|testA|testB)_\d+)(?P<mask>_anno)?\.bmp", re.IGNORECASE)
_EXPECTED = (
    "the release's train_1.bmp, train_1_anno.bmp, ... with Grade.csv, or images/*.png, masks/*.png with metadata.csv"
)
# A palette holds the colours in which numbers are shown; the pixels are the numbers.
_MASK_MODES = ("1", "L", "P")


@dataclass(frozen=True)
class _Row:
    """What the table says about one image; ``part`` is ``train``, ``testA``, ``testB`` or ``test``."""

    part: str
    patient: str
    grade: str


def import_glas(source: str | Path, out_dir: str | Path, validation_fraction: float = 0.2, seed: int = 0) -> Path:
    """Turn the GlaS challenge's images into a dataset of 2D images.

    Each image becomes ``<name>_image.png`` (RGB) and ``<name>_label.png`` (uint8): the number of the gland at each
    pixel where the masks hold numbers, 0 and 1 where they hold 0 and 255. Items keep ``patient`` and ``grade``.

    The test images of the release (``testA``, ``testB``) are the test split, and where it has none that split is empty.
    Whole patients of the training images are held out for validation. In the public release most patients of the test
    images have training images too: only training and validation are disjoint by patient.

    Args:
        source: folder of the release, ``train_1.bmp``, ``train_1_anno.bmp``, ..., ``Grade.csv``; or a folder with
            ``images/*.png``, ``masks/*.png`` and ``metadata.csv`` (columns ``name,split,patient,grade``; others are
            ignored).
        out_dir: new or empty folder outside ``source``.
        validation_fraction: share of the training images to hold out, between 0 and 1.
        seed: seed of the choice of patients, integer >= 0.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no table or no images, a file found twice, images without a mask, masks without an image, images
            missing from the table or the folder, sizes that differ, files that cannot be read (all problems are named
            at once), or fewer than two patients for training and validation.
        ValueError: ``validation_fraction`` or ``seed`` out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    check_held_out(validation_fraction, seed)
    check_folders(source, out_dir)
    table = _find_table(source)
    images, masks = _find_files(source, released=table.name.lower() == "grade.csv")
    rows, problems = _read_table(table)
    present = {rows[name].part for name in (*images, *masks) if name in rows}
    names = sorted({*images, *masks, *(name for name, row in rows.items() if row.part in present)})
    problems += [problem for name in names if (problem := _missing(name, images, masks, rows, table))]
    whole = [name for name in names if name in images and name in masks]
    problems += [problem for name in whole for problem in _pixel_problems(images[name], masks[name])]
    stop_at(problems, source)
    cases = [Case(name, rows[name].patient, (images[name], masks[name])) for name in names]
    split = _split({name: rows[name] for name in names}, validation_fraction, seed)
    write = partial(_write_case, grades={name: rows[name].grade for name in names})
    return write_dataset(cases, source, out_dir, Recipe("GlaS", _DESCRIPTION, "gland", "H&E", write), split)


def _find_table(source: Path) -> Path:
    tables = [path for path in files_below(source) if path.name.lower() in _TABLES]
    if not tables:
        raise DataError(f"Expected {_EXPECTED}; found no table of GlaS below {source}. Check the path.")
    one_place_each({"table": tables})
    stop_at_broken_links(tables, source)
    return tables[0]


def _find_files(source: Path, released: bool) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by name."""
    places: dict[str, dict[str, list[Path]]] = {"images": defaultdict(list), "masks": defaultdict(list)}
    for path in files_below(source):
        match = _RELEASE_FILE.fullmatch(path.name)
        if released and match:
            places["masks" if match["mask"] else "images"][match["name"]].append(path)
        elif not released and path.suffix.lower() == ".png" and path.parent.name in places:
            places[path.parent.name][path.stem].append(path)
    one_place_each({f"{name} {kind}": found for kind, by_name in places.items() for name, found in by_name.items()})
    listed = [path for by_name in places.values() for found in by_name.values() for path in found]
    stop_at_broken_links(listed, source)
    images = {name: found[0] for name, found in places["images"].items()}
    masks = {name: found[0] for name, found in places["masks"].items()}
    if not images and not masks:
        raise DataError(f"Expected {_EXPECTED}; found no image of GlaS below {source}. Check the path.")
    return images, masks


def _read_table(path: Path) -> tuple[dict[str, _Row], list[str]]:
    """Rows by name, and what is wrong with them; headers and values of the release carry stray spaces."""
    wanted = _TABLES[path.name.lower()]
    with path.open(newline="", encoding="utf-8-sig") as handle:
        lines = [[field.strip() for field in line] for line in csv.reader(handle)]
    header = lines[0] if lines else []
    if not set(wanted) <= set(header):
        raise DataError(f"{path}: expected the columns {', '.join(wanted)}, found {header}. Copy the file again.")
    rows: dict[str, _Row] = {}
    problems = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        fields = dict(zip(header, line, strict=False))
        name, patient, grade = [fields.get(key, "") for key in wanted]
        part = fields["split"] if "split" in fields else name.rpartition("_")[0]
        if not patient or not grade or not part.startswith(("train", "test")):
            problems.append(f"{path}, line {number}: expected an image of train or test, its patient and grade: {line}")
        elif name in rows:
            problems.append(f"{path}, line {number}: {name} is listed twice")
        else:
            rows[name] = _Row(part, patient, grade)
    return rows, problems


def _missing(
    name: str, images: dict[str, Path], masks: dict[str, Path], rows: dict[str, _Row], table: Path
) -> str | None:
    """What an image lacks of picture, mask and row."""
    if name not in images:
        return f"{masks[name]} has no image" if name in masks else f"{name} of {table}: image and mask are missing"
    lacking = [what for what, there in (("mask", masks), (f"row in {table}", rows)) if name not in there]
    return f"{images[name]} has no {' and no '.join(lacking)}" if lacking else None


def _split(rows: dict[str, _Row], fraction: float, seed: int) -> Split:
    """Keep the test images of the release, and hold out some of the other patients for validation."""
    training = {name: row.patient for name, row in rows.items() if not row.part.startswith("test")}
    held_out = held_out_patients(training.values(), fraction, seed)
    homes = {name: "validation" if patient in held_out else "training" for name, patient in training.items()}
    return Split(dict.fromkeys(rows, "test") | homes, {"validation_fraction": float(fraction), "seed": int(seed)})


def _pixel_problems(image: Path, mask: Path) -> list[str]:
    """Files that cannot be read or are of the wrong kind, or an image and its mask of different size."""
    problems, sizes = [], []
    for path, read in ((image, _colours), (mask, _numbers)):
        try:
            sizes.append(read(path).shape[:2])
        except DataError as error:
            problems.append(str(error))
    if len(set(sizes)) == 2:
        (height, width), (rows, columns) = sizes
        problems.append(f"{mask} has {columns} x {rows} pixels, expected {width} x {height} as in {image.name}")
    return problems


def _write_case(case: Case, folder: Path, grades: dict[str, str]) -> dict[str, Any]:
    """Write image and mask as PNG, and return the item."""
    image, mask = case.files
    numbers = _numbers(mask)
    item: dict[str, Any] = {"image": f"{case.name}_image.png", "label": f"{case.name}_label.png"}
    Image.fromarray(_colours(image)).save(folder / item["image"])
    Image.fromarray(numbers).save(folder / item["label"])
    return item | {"grade": grades[case.name]} | describe_mask(numbers[..., None], np.eye(4))


def _colours(path: Path) -> NDArray[Any]:
    """Pixels of an image, ``(rows, columns, 3)`` uint8."""
    return _pixels(path, ("RGB",))


def _numbers(path: Path) -> NDArray[Any]:
    """Mask, ``(rows, columns)`` uint8: the numbers of the source, or 0 and 1 for a mask of 0 and 255."""
    numbers = _pixels(path, _MASK_MODES).astype(np.uint8)
    return (numbers > 0).astype(np.uint8) if set(np.unique(numbers).tolist()) <= {0, 255} else numbers


def _pixels(path: Path, modes: tuple[str, ...]) -> NDArray[Any]:
    try:
        with Image.open(path) as picture:
            pixels, mode = np.asarray(picture), picture.mode
    except Exception as error:
        raise DataError(f"{path} cannot be read (no picture, or one that is incomplete or corrupt)") from error
    if mode not in modes:
        raise DataError(f"{path} is of mode {mode}, expected {', '.join(modes)}")
    return pixels
