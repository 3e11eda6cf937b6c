"""What a user chooses for cases of an image file and a label file, and the dataset that follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from camtools.data.importers.dataset import Case, Recipe, write_dataset
from camtools.data.importers.labelled import Channel, Objects, write_labelled
from camtools.data.importers.patients import patients_by_pattern, split_beside_test

__all__ = ["Choices", "Found", "write_found"]


@dataclass(frozen=True)
class Choices:
    """Settings of an import.

    Attributes:
        channel: name or number of the channel; None where there is only one.
        classes: names or values of the classes that are the object, separated by commas; None: all of them.
        patient: regular expression that finds the patient in the name of a case, see
            :func:`camtools.data.importers.patients.patients_by_pattern`; None: every case is a patient of its own.
        split: fractions of the patients for training, validation and test: positive, with sum 1.
        seed: seed of the split, integer >= 0.
    """

    channel: str | None = None
    classes: str | None = None
    patient: str | None = None
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What an importer found in a folder.

    Attributes:
        name: name of the dataset.
        modality: name of the channel.
        objects: which values of the labels are the object.
        files: case -> image and label.
        searched: case -> the text in which the pattern of the patient is searched.
        test: cases of the release's own test split, which may be none.
        skipped: cases left out because they have no label.
        channel: channel to take out of 4D images; None: an image is one volume.
    """

    name: str
    modality: str
    objects: Objects
    files: Mapping[str, tuple[Path, Path]]
    searched: Mapping[str, str]
    test: Collection[str] = ()
    skipped: Sequence[str] = ()
    channel: Channel | None = None


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
    homes = split_beside_test(patients, found.test, choices.split, choices.seed)
    cases = [Case(name, patients[name], files) for name, files in found.files.items()]
    taken = "every label above 0"
    if found.objects.values is not None:
        taken = f"the labels {', '.join(map(str, sorted(found.objects.values)))}"
    recipe = Recipe(
        found.name,
        f"{found.name}, {found.modality}; label 1 = {found.objects.name} ({taken} of the source)",
        found.objects.name,
        found.modality,
        partial(write_labelled, objects=found.objects, channel=found.channel),
        {"classes": taken, "patient": choices.patient},
    )
    return write_dataset(cases, source, out_dir, recipe, homes, skipped=found.skipped)
