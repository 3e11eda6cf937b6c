"""The command ``camtools tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camtools.cli.common import overrides, plain_errors

__all__ = ["tune"]

_ConfigFile = Annotated[Path, typer.Argument(help="train.yaml of a bundle.")]
# both spellings: a knob of the bundle has this name
_Folder = Annotated[Path, typer.Option("--output-dir", "--output_dir", help="Folder for choice.json and the tables.")]
_Methods = Annotated[
    str | None,
    typer.Option(help="Maps, separated by commas; an unknown one lists them all. Default: all fast ones."),
]
_Refinements = Annotated[str, typer.Option(help="Refinements of the best maps: crf, geodesic, or none.")]
_Mirrored = Annotated[bool, typer.Option("--mirrored", help="Average maps over the slice and its two mirror images.")]
_Scales = Annotated[str, typer.Option(help="Sizes of the slice over which maps are averaged, such as 1.0,1.25.")]
_Sample = Annotated[int | None, typer.Option(help="Slices on which refinements are compared first; 0: all.")]
_Maps = Annotated[int, typer.Option(help="Number of maps that are refined.")]
_Finalists = Annotated[int, typer.Option(help="Number of refinements that are scored on all slices.")]
_Evidence = Annotated[int, typer.Option(help="Slices on which maps are judged without masks; 0: not at all.")]
_Folds = Annotated[int | None, typer.Option(help="Folds of patients; default: one for each patient, at most 20.")]
_Patient = Annotated[
    str | None,
    typer.Option(help="Regular expression that finds the patient in the name of a case (its first group)."),
]
_Overlay = Annotated[list[Path] | None, typer.Option(help="Overlay of the configuration; may be repeated.")]
_Target = Annotated[int, typer.Option(help="Class of the object; 0 for a classifier with one logit.")]
_BatchSize = Annotated[int | None, typer.Option(help="Slices per pass; default: what is fast on the device.")]


def tune(
    context: typer.Context,
    config_file: _ConfigFile,
    output_dir: _Folder,
    methods: _Methods = None,
    refinements: _Refinements = "crf,geodesic",
    mirrored: _Mirrored = False,
    scales: _Scales = "1.0",
    sample: _Sample = 32,
    maps: _Maps = 3,
    finalists: _Finalists = 4,
    evidence_slices: _Evidence = 8,
    folds: _Folds = None,
    patient: _Patient = None,
    overlay: _Overlay = None,
    target: _Target = 1,
    batch_size: _BatchSize = None,
) -> None:
    """Choose map, layers, threshold and refinement of a trained classifier on the validation volumes.

    What follows as ``--id value`` overrides the configuration, as with ``python -m monai.bundle run``; the classifier
    is read from ``--classifier_dir DIR``. Pass what it was trained with (architecture, pixel_size, ...).
    """
    from camtools.scores.classifier import load_trained_classifier
    from camtools.tuning import DEFAULT_METHODS, TuningSettings, format_tuning, tune_masks, write_tuning
    from camtools.tuning.settings import chosen_refinements

    with plain_errors():
        settings = TuningSettings(
            methods=DEFAULT_METHODS if methods is None else methods.split(","),
            refinements=chosen_refinements(refinements.split(",")),
            mirrored=mirrored,
            scales=_numbers(scales),
            sample=sample or None,
            maps=maps,
            finalists=finalists,
            evidence_slices=evidence_slices,
            folds=folds,
            patient=patient,
            batch_size=batch_size,
        )
        classifier = load_trained_classifier([config_file, *(overlay or [])], overrides(context.args))
        tuning = tune_masks(classifier, settings, target)
        write_tuning(tuning, output_dir)
        typer.echo(f"\n{format_tuning(tuning)}\n\nWrote choice.json, tuned.yaml and the tables: {output_dir}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"scales: expected numbers separated by commas, found {text!r}. Give 1.0,1.25.") from None
