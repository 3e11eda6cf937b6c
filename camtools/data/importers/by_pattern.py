"""Any folder of images and masks: patterns say which files are images and which masks, and which belong together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

from camtools.data.errors import DataError
from camtools.data.folders import files_below
from camtools.data.importers.choices import Choices, Found, write_found
from camtools.data.importers.dataset import check_folders, stop_at, stop_at_broken_links
from camtools.data.importers.labelled import Objects
from camtools.data.importers.patients import check_split

__all__ = ["import_by_pattern"]

_DEFAULT = Choices()
_Texts: TypeAlias = tuple[str | Any, ...]


def import_by_pattern(
    source: str | Path, out_dir: str | Path, images: str, masks: str, choices: Choices = _DEFAULT
) -> Path:
    """Turn a folder of images and masks into a dataset.

    A ``*`` in a pattern stands for any text without ``/``, of at least one character. An image and a mask belong
    together where the stars of both patterns stand for the same texts: ``images/*.nii.gz`` and ``masks/*_seg.nii.gz``
    join ``images/a.nii.gz`` and ``masks/a_seg.nii.gz``. These texts, joined by ``_``, are the name of the case. A file
    that fits both patterns is a mask. Images without a mask are left out; ``dataset.json`` names them under
    ``skipped``.

    Args:
        source: folder of the files.
        out_dir: new or empty folder outside ``source``.
        images: pattern of the images, relative to ``source``.
        masks: pattern of the masks, with as many stars.
        choices: classes (their values), patient and split. The pattern of the patient is searched in the path of the
            image, relative to ``source``.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no images or no masks, masks without an image (all are named), a mask that is not on the voxels of
            its image, damaged files, or too few patients.
        ValueError: a pattern without a star, different numbers of stars, classes that are no numbers above 0, or other
            choices out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    check_split(choices.split, choices.seed)
    objects = _objects(choices.classes)
    _check_stars(images, masks)
    check_folders(source, out_dir)
    found_masks = _matching(source, masks)
    taken = set(found_masks.values())
    found_images = {texts: path for texts, path in _matching(source, images).items() if path not in taken}
    for kind, pattern, found in (("images", images, found_images), ("masks", masks, found_masks)):
        if not found:
            raise DataError(
                f"Expected {kind} by the pattern {pattern!r} below {source}, found none. Correct --{kind}: the pattern "
                "is compared with the path relative to the folder."
            )
    alone = sorted(path for texts, path in found_masks.items() if texts not in found_images)
    stop_at([f"{path} has no image by the pattern {images!r}" for path in alone], source)
    files: dict[str, tuple[Path, Path]] = {}
    for texts, mask in found_masks.items():
        files.setdefault(_case(texts), (found_images[texts], mask))
    if len(files) < len(found_masks):
        raise DataError(
            f"Expected a name of its own for each of {len(found_masks)} cases, found {len(files)} names, because the "
            f"texts of the stars in {images!r} are joined by '_'. Rename a folder or a file."
        )
    searched = {case: pair[0].relative_to(source).as_posix() for case, pair in files.items()}
    skipped = sorted(_case(texts) for texts in found_images if texts not in found_masks)
    name = source.resolve().name
    return write_found(Found(name, (images,), objects, files, searched, skipped=skipped), source, out_dir, choices)


def _case(texts: _Texts) -> str:
    """Name of a case; a text that repeats, as in ``p1/p1_t2.nii.gz``, is in it once.

    Example:
        >>> _case(("p1", "p1")), _case(("p1", "scan2"))
        ('p1', 'p1_scan2')
    """
    return "_".join(dict.fromkeys(texts))


def _objects(classes: str | None) -> Objects:
    if classes is None:
        return Objects("object")
    parts = [part.strip() for part in classes.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(
            f"Expected classes as values above 0 of the masks, such as 1,2, found {classes!r}. Correct --classes."
        )
    return Objects("object", frozenset(int(part) for part in parts))


def _check_stars(images: str, masks: str) -> None:
    counts = (images.count("*"), masks.count("*"))
    if counts[0] == 0 or counts[0] != counts[1] or "**" in images + " " + masks:
        raise ValueError(
            "Expected patterns with the same number of stars, at least one, such as images/*.nii.gz and "
            f"masks/*_seg.nii.gz, found {images!r} and {masks!r}. Correct --images or --masks; write one * for each "
            "folder instead of **."
        )


def _matching(source: Path, pattern: str) -> dict[_Texts, Path]:
    """Files that fit a pattern, by the texts that its stars stand for."""
    expression = re.compile("([^/]+)".join(re.escape(part) for part in pattern.removeprefix("./").split("*")))
    found = {}
    for path in files_below(source):
        if match := expression.fullmatch(path.relative_to(source).as_posix()):
            found[match.groups()] = path
    stop_at_broken_links(list(found.values()), source)
    return found
