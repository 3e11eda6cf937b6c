"""Raw datasets of nnU-Net, versions 1 and 2: one file for each channel, labels with several classes."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from camtools.data.errors import DataError
from camtools.data.file_kinds import is_photograph
from camtools.data.folders import files_below
from camtools.data.importers.channel_files import Channels
from camtools.data.importers.choices import Choices, Found, write_found
from camtools.data.importers.dataset import check_folders, one_place_each, stop_at, stop_at_broken_links
from camtools.data.importers.folds import SPLITS_NAME, split_of_fold
from camtools.data.importers.patients import Split, check_split
from camtools.data.importers.release_json import Release, choose_channels, choose_classes, read_release

__all__ = ["import_nnunet"]

_DEFAULT = Choices()


@dataclass(frozen=True)
class _Part:
    """Files of ``Tr`` or ``Ts``: images by case and number of the channel, labels by case."""

    name: str
    images: dict[str, dict[int, Path]]
    labels: dict[str, Path]


def import_nnunet(source: str | Path, out_dir: str | Path, choices: Choices = _DEFAULT) -> Path:
    """Turn a raw dataset of nnU-Net into a dataset of one object and one or more channels.

    Every case becomes ``<case>_image``, a hard link to the file of the channel (or a copy), or one 4D file of several
    channels, and ``<case>_label``, uint8, 0 and 1. Where ``labelsTs`` has labels, the cases of ``imagesTs`` with a
    label are the test split. Images in ``imagesTs`` without a label are left out;
    ``dataset.json`` names them under ``skipped``.

    Where the folder holds ``splits_final.json``, or ``choices.splits_file`` is given, a fold of it says which cases
    train and which validate (:func:`camtools.data.importers.folds.split_of_fold`). Cases that the fold leaves out are
    skipped.

    Args:
        source: folder of the dataset: ``dataset.json``, ``imagesTr``, ``labelsTr``, and ``imagesTs`` and ``labelsTs``
            where they exist.
        out_dir: new or empty folder outside ``source``.
        choices: channels, classes, patient and split, or a fold.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: no usable ``dataset.json``, no images, images without a label, labels without an image, missing
            files of the channel (all problems are named at once), a label that is not on the voxels of its image or has
            unknown values, damaged files, channels of a case on different voxels, a fold that cannot be used, or too
            few patients.
        ValueError: unknown channel or class, or other choices out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    source, out_dir = Path(source), Path(out_dir)
    check_split(choices.split, choices.seed)
    check_folders(source, out_dir)
    release = read_release(source)
    objects = choose_classes(release, choices.classes)
    ending = str(release.content.get("file_ending") or ".nii.gz")
    training, test = _part(source, "Tr", ending), _part(source, "Ts", ending)
    if not training.images:
        raise DataError(
            f"Expected images such as imagesTr/CASE_0000{ending}, found none in {source}. Check the path, and "
            '"file_ending" in dataset.json.'
        )
    numbers, modality = _channels(release, choices.channel, training, ending)
    split = _split(source, choices, training, test)
    skipped = sorted(set(test.images) - set(test.labels))
    test = _Part("Ts", {case: files for case, files in test.images.items() if case in test.labels}, test.labels)
    twice = [f"{case} is in imagesTr and in imagesTs" for case in sorted(set(training.images) & set(test.images))]
    stop_at([*_problems(training, numbers, ending), *_problems(test, numbers, ending), *twice], source)
    files: dict[str, tuple[Path, ...]] = {}
    for part in (training, test):
        for case, found in part.images.items():
            files[case] = (*(found[number] for number in numbers), part.labels[case])
    if split is not None:
        skipped += sorted(set(files) - set(split.of_case))
        files = {case: found for case, found in files.items() if case in split.of_case}
    names = {case: case for case in files}
    each = Channels((0,), 1)  # every file holds one channel
    dataset = Found(release.name, modality, objects, files, names, set(test.images), skipped, each, split)
    return write_found(dataset, source, out_dir, choices)


def _part(source: Path, name: str, ending: str) -> _Part:
    image = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})" + re.escape(ending), re.IGNORECASE)
    label = re.compile(r"(?P<case>.+)" + re.escape(ending), re.IGNORECASE)
    places: dict[str, list[Path]] = defaultdict(list)
    part = _Part(name, defaultdict(dict), {})
    for path in _files(source / f"images{name}"):
        if match := image.fullmatch(path.name):
            part.images[match["case"]][int(match["channel"])] = path
            places[f"{match['case']} {match['channel']}"].append(path)
    for path in _files(source / f"labels{name}"):
        if match := label.fullmatch(path.name):
            part.labels[match["case"]] = path
            places[match["case"]].append(path)
    stop_at_broken_links([path for paths in places.values() for path in paths], source)
    one_place_each(places)
    return part


def _files(folder: Path) -> list[Path]:
    if folder.is_dir():
        return files_below(folder)
    return []


def _channels(
    release: Release, wanted: str | None, training: _Part, ending: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers and names of the channels; a colour picture holds all channels in its only file."""
    numbers = {number for files in training.images.values() for number in files}
    if wanted is None and is_photograph(ending) and numbers == {0}:
        return (0,), (", ".join(name for _, name in sorted(release.channels.items())),)
    chosen = choose_channels(release, wanted)
    if len(chosen) > 1 and is_photograph(ending):
        raise ValueError(
            f"Expected one channel of images that are {ending} files, found {wanted!r}. Choose one channel, or save "
            "each case as one colour picture."
        )
    return chosen, tuple(release.channels[number] for number in chosen)


def _split(source: Path, choices: Choices, training: _Part, test: _Part) -> Split | None:
    """The fold of the dataset; None where there is no file of folds and none is asked for."""
    path = Path(choices.splits_file or source / SPLITS_NAME)
    if choices.splits_file is None and choices.fold is None and not path.exists():
        return None
    labelled = set(test.images) & set(test.labels)
    return split_of_fold(path, choices.fold or 0, set(training.images), labelled)


def _problems(part: _Part, numbers: tuple[int, ...], ending: str) -> list[str]:
    problems = []
    for case in sorted(set(part.images) | set(part.labels)):
        if case not in part.images:
            problems.append(f"{part.labels[case]} has no image images{part.name}/{case}_{numbers[0]:04d}{ending}")
            continue
        problems += [
            f"images{part.name}/{case}_{number:04d}{ending} is missing"
            for number in numbers
            if number not in part.images[case]
        ]
        if case not in part.labels:
            problems.append(f"images{part.name}/{case} has no label labels{part.name}/{case}{ending}")
    return problems
