"""The commands ``camtools import ...``: public datasets to folders with ``dataset.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from camtools.cli.common import plain_errors

import_app = typer.Typer(no_args_is_help=True, help="Turn the files of a public dataset into a dataset.json.")

_Source = Annotated[Path, typer.Argument(help="Folder of the unpacked release; nothing is written there.")]
_Out = Annotated[
    Path, typer.Option("--out", "--output-dir", help="New or empty folder for the dataset and its dataset.json.")
]
_Split = Annotated[
    tuple[float, float, float], typer.Option(help="Fractions of the patients: training, validation, test.")
]
_Seed = Annotated[int, typer.Option(help="Seed of the split.")]
_Channel = Annotated[
    str | None,
    typer.Option(
        help="Names or numbers of the channels, in order, with commas, such as FLAIR or 0000,0001; or all; may be left "
        "out if only one."
    ),
]
_Classes = Annotated[
    str | None, typer.Option(help="Classes that are the object, by name or value, with commas; default: all of them.")
]
_Patient = Annotated[
    str | None, typer.Option(help="Regular expression that finds the patient in the name of a case (its first group).")
]


def _run(write: Callable[[], Path]) -> None:
    """Import, then print the summary; errors end the command with one message."""
    from camtools.data.importers import format_summary

    with plain_errors():
        path = write()
        typer.echo(f"{format_summary(path)}\nWrote {path}")


@import_app.command()
def brats(
    source: _Source,
    out: _Out,
    modality: Annotated[
        str, typer.Option(help="flair, t1, t1ce or t2; several with commas, in order; or all.")
    ] = "flair",
    split: _Split = (0.8, 0.1, 0.1),
    seed: _Seed = 0,
) -> None:
    """Import a BraTS training release; the object is the whole tumour."""
    from camtools.data.importers import import_brats

    _run(lambda: import_brats(source, out, modality, split, seed))


@import_app.command()
def glas(
    source: _Source,
    out: _Out,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the training images to hold out for validation, by whole patients.")
    ] = 0.2,
    seed: _Seed = 0,
) -> None:
    """Import the gland images of the GlaS challenge (Warwick-QU); its test images stay the test split."""
    from camtools.data.importers import import_glas

    _run(lambda: import_glas(source, out, validation_fraction, seed))


@import_app.command()
def lgg(
    source: _Source,
    out: _Out,
    modality: Annotated[str, typer.Option(help="flair, or pre or post (contrast).")] = "flair",
    split: _Split = (0.8, 0.1, 0.1),
    seed: _Seed = 0,
) -> None:
    """Import the LGG segmentation dataset of Kaggle (lgg-mri-segmentation)."""
    from camtools.data.importers import import_lgg

    _run(lambda: import_lgg(source, out, modality, split, seed))


@import_app.command()
def nnunet(
    source: _Source,
    out: _Out,
    channel: _Channel = None,
    classes: _Classes = None,
    patient: _Patient = None,
    split: _Split = (0.8, 0.1, 0.1),
    seed: _Seed = 0,
    fold: Annotated[
        int | None, typer.Option(help="Fold of splits_final.json; default: the first, where the folder has this file.")
    ] = None,
    splits_file: Annotated[
        Path | None, typer.Option(help="splits_final.json of nnUNet_preprocessed, where the folder has none.")
    ] = None,
) -> None:
    """Import a raw dataset of nnU-Net (version 1 or 2), such as nnUNet_raw/Dataset004_Hippocampus."""
    from camtools.data.importers import Choices, import_nnunet

    choices = Choices(channel, classes, patient, split, seed, splits_file, fold)
    _run(lambda: import_nnunet(source, out, choices))


@import_app.command()
def msd(
    source: _Source,
    out: _Out,
    channel: _Channel = None,
    classes: _Classes = None,
    patient: _Patient = None,
    split: _Split = (0.8, 0.1, 0.1),
    seed: _Seed = 0,
) -> None:
    """Import a task of the Medical Segmentation Decathlon, such as Task01_BrainTumour."""
    from camtools.data.importers import Choices, import_msd

    _run(lambda: import_msd(source, out, Choices(channel, classes, patient, split, seed)))


def dataset(
    folder: Annotated[Path, typer.Argument(help="Folder of the images and masks; nothing is written there.")],
    out: _Out,
    images: Annotated[str, typer.Option(help="Pattern of the images, such as 'images/*.nii.gz' or '*/t2.nii.gz'.")],
    masks: Annotated[str, typer.Option(help="Pattern of the masks, with as many stars, for the same texts.")],
    classes: Annotated[
        str | None, typer.Option(help="Values of the masks that are the object, with commas; default: all above 0.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in the path of an image.")
    ] = None,
    split: _Split = (0.8, 0.1, 0.1),
    seed: _Seed = 0,
) -> None:
    """Turn any folder of images and masks into a dataset.json."""
    from camtools.data.importers import Choices, import_by_pattern

    choices = Choices(classes=classes, patient=patient, split=split, seed=seed)
    _run(lambda: import_by_pattern(folder, out, images, masks, choices))


def channels(
    folder: Annotated[Path, typer.Argument(help="Folder of files that end in _0000, _0001, ...: one per channel.")],
    out: Annotated[Path, typer.Option("--out", "--output-dir", help="New or empty folder for one 4D file per case.")],
) -> None:
    """Join files of single channels, as nnU-Net wants them, to one 4D NIfTI file for each case."""
    from camtools.data.importers import join_folder

    with plain_errors():
        written, left_out = join_folder(folder, out)
        if left_out:
            names = ", ".join(path.name for path in left_out[:5])
            typer.echo(f"Left out {len(left_out)} images without the number of a channel, the first ones: {names}")
        typer.echo(f"Wrote {len(written)} cases to {out}")
