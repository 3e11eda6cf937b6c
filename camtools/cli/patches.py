"""The command ``camtools patches``: the patches of a dataset, as a table to fill in and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camtools.cli.common import plain_errors

__all__ = ["patches"]


def patches(
    dataset_dir: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    out: Annotated[Path, typer.Option(help="CSV to write; an existing file is not overwritten.")],
    split: Annotated[str, typer.Option(help="Split to list: training, validation or test.")] = "training",
    patch_size: Annotated[int, typer.Option(help="Side of a patch in pixels, as in the bundle.")] = 112,
    patch_stride: Annotated[int, typer.Option(help="Pixels from one patch to the next, as in the bundle.")] = 56,
    pixel_size: Annotated[
        float | None, typer.Option(help="In mm, as in the bundle; by default the image's own.")
    ] = None,
    slice_axis: Annotated[
        str | None, typer.Option(help="As in the bundle: axial, coronal, sagittal, or an array axis (0, 1, 2).")
    ] = None,
    derive: Annotated[bool, typer.Option(help="Fill the classes in from the masks, as in a benchmark.")] = False,
    crops: Annotated[Path | None, typer.Option(help="New folder for a picture of every patch.")] = None,
) -> None:
    """List the patches of a dataset in a CSV, to be tagged with the classes that each of them shows."""
    from camtools.data import PatchTagger, dataset_slice_axis, load_datalist
    from camtools.data.patch_tags import write_patch_crops, write_patch_tags
    from camtools.patches import PatchGrid
    from camtools.transforms import PrepareVolumed

    with plain_errors():
        everything = [item for name in ("training", "validation", "test") for item in load_datalist(dataset_dir, name)]
        number = int(slice_axis) if slice_axis and slice_axis.isdigit() else slice_axis
        prepare = PrepareVolumed(pixel_size, dataset_slice_axis(everything, number))
        tagger = PatchTagger(prepare, PatchGrid(patch_size, patch_stride))
        items = load_datalist(dataset_dir, split)
        count = write_patch_tags(items, tagger, out, derive)
        if crops is not None:
            write_patch_crops(items, tagger, crops)
        hint = "" if derive else " Fill in the column classes: 0 is the background, 0 1 both."
        typer.echo(
            f'Wrote {count} patches of {len(items)} images to {out}.{hint} Then add "patch_labels": "{out.name}" to '
            f"these images in {dataset_dir / 'dataset.json'}, with the CSV beside it."
        )
