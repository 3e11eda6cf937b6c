"""What a user chooses for cases of an image file and a label file, and the dataset that follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from camtools.data.importers.channel_files import Channels
from camtools.data.importers.dataset import Case, Recipe, write_dataset
from camtools.data.importers.folds import check_apart
from camtools.data.importers.labelled import Objects, write_labelled
from camtools.data.importers.patients import Split, patients_by_pattern, split_beside_test

__all__ = ["Choices", "Found", "write_found"]


@dataclass(frozen=True)
class Choices:
    """Settings of an import.

    Attributes:
        channel: names or numbers of the channels, in the order wanted, separated by commas, or ``all``; None where
            there is only one.
        classes: names or values of the classes that are the object, separated by commas; None: all of them.
        patient: regular expression that finds the patient in the name of a case, see
            :func:`camtools.data.importers.patients.patients_by_pattern`; None: every case is a patient of its own.
        split: fractions of the patients for training, validation and test: positive, with sum 1.
        seed: seed of the split, integer >= 0.
        splits_file: ``splits_final.json`` of nnU-Net; None: the one in the folder of the dataset, if there is one.
        fold: fold of that file; None: the first one if there is a file, else a split by ``split`` and ``seed``.
    """

    channel: str | None = None
    classes: str | None = None
    patient: str | None = None
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    splits_file: str | Path | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Found:
    """What an importer found in a folder.

    Attributes:
        name: name of the dataset.
        modality: names of the channels, in the order of the images.
        objects: which values of the labels are the object.
        files: case -> image, or one image for each channel, and label.
        searched: case -> the text in which the pattern of the patient is searched.
        test: cases of the release's own test split, which may be none.
        skipped: cases left out because they have no label.
        channels: which channels of an image file to take; None: an image is taken as it is.
        split: where every case goes; None: decided by the choices.
    """

    name: str
    modality: Sequence[str]
    objects: Objects
    files: Mapping[str, tuple[Path, ...]]
    searched: Mapping[str, str]
    test: Collection[str] = ()
    skipped: Sequence[str] = ()
    channels: Channels | None = None
    split: Split | None = None


def write_found(found: Found, source: Path, out_dir: Path, choices: Choices) -> Path:
    """Split the cases by patient and write the dataset.

    Returns:
        Path to ``dataset.json``.

    Raises:
        DataError: a file that cannot be used, or too few patients.
        ValueError: ``patient`` is no regular expression, or ``split`` or ``seed`` is out of range.
        FileExistsError: ``out_dir`` is a file or holds something else than this import.
    """
    patients = patients_by_pattern(found.searched, choices.patient)
    homes = found.split or split_beside_test(patients, found.test, choices.split, choices.seed)
    if found.split is not None:
        check_apart(found.split, patients)
    cases = [Case(name, patients[name], files) for name, files in found.files.items()]
    taken = "every label above 0"
    if found.objects.values is not None:
        taken = f"the labels {', '.join(map(str, sorted(found.objects.values)))}"
    modality = ", ".join(found.modality)
    recipe = Recipe(
        found.name,
        f"{found.name}, {modality}; label 1 = {found.objects.name} ({taken} of the source)",
        found.objects.name,
        modality,
        partial(write_labelled, objects=found.objects, channels=found.channels),
        {"classes": taken, "patient": choices.patient},
        found.modality if len(found.modality) > 1 else (),
    )
    return write_dataset(cases, source, out_dir, recipe, homes, skipped=found.skipped)
