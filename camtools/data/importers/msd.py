"""Tasks of the Medical Segmentation Decathlon: the files are listed in ``dataset.json``, 4D images hold channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camtools.data.case_names import case_of_file
from camtools.data.errors import DataError
from camtools.data.importers.channel_files import Channels
from camtools.data.importers.choices import Choices, Found, write_found
from camtools.data.importers.dataset import check_folders, stop_at, stop_at_broken_links
from camtools.data.importers.patients import check_split
from camtools.data.importers.release_json import Release, choose_channels, choose_classes, read_release

__all__ = ["import_msd"]

_DEFAULT = Choices()


def import_msd(source: str | Path, out_dir: str | Path, choices: Choices = _DEFAULT) -> Path:
    """Turn a task of the Medical Segmentation Decathlon into a dataset of one object and one or more channels.

    Every case becomes ``<case>_image``, a hard link to the image (or a copy), or a new file with the chosen channels
    where these are not all, and ``<case>_label``, uint8, 0 and 1. The images of ``test`` have no labels: they are left
    out, and ``dataset.json`` names them under ``skipped``.

    Args:
        source: folder of the task, such as ``Task01_BrainTumour``, with ``dataset.json``.
        out_dir: new or empty folder outside ``source``.
        choices: channels, classes, patient and split.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no usable ``dataset.json``, missing files (all are named at once), an image with another number of
            channels, a label that is not on the voxels of its image or has unknown values, damaged files, or too few
            patients.
        ValueError: unknown channel or class, or other choices out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    check_split(choices.split, choices.seed)
    check_folders(source, out_dir)
    release = read_release(source)
    objects = choose_classes(release, choices.classes)
    numbers = choose_channels(release, choices.channel)
    order = sorted(release.channels)
    channels = Channels(tuple(order.index(number) for number in numbers), len(order))
    files = _listed(release, source)
    listed = [path for pair in files.values() for path in pair]
    stop_at_broken_links(listed, source)
    stop_at([f"{path} is missing" for path in listed if not path.is_file()], source)
    names = {case: case for case in files}
    skipped = _test_cases(release)
    modality = tuple(release.channels[number] for number in numbers)
    found = Found(release.name, modality, objects, files, names, skipped=skipped, channels=channels)
    return write_found(found, source, out_dir, choices)


def _listed(release: Release, source: Path) -> dict[str, tuple[Path, Path]]:
    """Image and label of every case under ``training``."""
    entries = release.content.get("training")
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f'Expected "training" with an image and a label for each case, found {entries!r} in {release.path}. For a '
            "dataset of nnU-Net without this list, use 'camtools import nnunet'."
        )
    files: dict[str, tuple[Path, Path]] = {}
    for entry in entries:
        image, label = _inside(release, source, entry, "image"), _inside(release, source, entry, "label")
        case = case_of_file(image.name)
        if case in files:
            raise DataError(
                f'Expected every case once, found {case} twice under "training" in {release.path}. Correct it.'
            )
        files[case] = (image, label)
    return files


def _inside(release: Release, source: Path, entry: Any, key: str) -> Path:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not (source / value).resolve().is_relative_to(source.resolve()):
        raise DataError(
            f'Expected the path of a file below {source} under "{key}", found {value!r} in {release.path}. Correct it.'
        )
    return source / value


def _test_cases(release: Release) -> list[str]:
    """Names of the test cases: a list of paths, or of objects with the path under ``image``."""
    entries = release.content.get("test")
    if not isinstance(entries, list):
        return []
    paths = [entry.get("image") if isinstance(entry, dict) else entry for entry in entries]
    return sorted(case_of_file(Path(path).name) for path in paths if isinstance(path, str))
