"""The command ``camtools tag``: slice and patch tags in the browser."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtools.cli.common import plain_errors

if TYPE_CHECKING:
    from camtools.tag.session import TagSession

__all__ = ["next_step", "tag"]


def tag(
    folder: Annotated[Path, typer.Argument(help="Folder of the volumes; tags.csv and dataset.json are written there.")],
    images: Annotated[
        str | None, typer.Option(help="Pattern of the volumes, such as '*_image.nii.gz'; by default all images.")
    ] = None,
    label: Annotated[str, typer.Option(help="Name of the object; several classes of patches with commas.")] = "object",
    slice_axis: Annotated[
        str | None, typer.Option(help="axial, coronal, sagittal, or an array axis (0, 1, 2); by default decided.")
    ] = None,
    suggest: Annotated[Path | None, typer.Option(help="Run, or its bundle, whose classifier suggests tags.")] = None,
    patches: Annotated[bool, typer.Option(help="Tag patches, for bundles/oeem, instead of slices.")] = False,
    patch_size: Annotated[int, typer.Option(help="Side of a patch in pixels, as in the bundle.")] = 112,
    patch_stride: Annotated[int, typer.Option(help="Pixels from one patch to the next, as in the bundle.")] = 56,
    pixel_size: Annotated[float | None, typer.Option(help="Patches: in mm, as in the bundle.")] = None,
    port: Annotated[int, typer.Option(help="Port of the page on this machine; 0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page where there is a browser.")] = True,
    cache_gb: Annotated[float, typer.Option(help="GB of temporary files for volumes that are kept ready.")] = 2.0,
) -> None:
    """Tag slices (or patches) of a folder of volumes in the browser, by a few keys per volume, until Ctrl-C."""
    from camtools.patches import PatchGrid
    from camtools.tag.listing import read_folder
    from camtools.tag.serve import serve_tags
    from camtools.tag.session import TagOptions, TagSession

    with plain_errors():
        if patches and suggest is not None:
            raise ValueError("Expected --suggest or --patches, found both. Models suggest tags of slices only.")
        number = int(slice_axis) if slice_axis and slice_axis.isdigit() else slice_axis
        found = read_folder(folder, images, number)
        suggestions = None
        if suggest is not None:
            from camtools.tag.classifier import suggestions_of

            suggestions = suggestions_of(suggest, found.slice_axis)
        labels = ("background", *(name.strip() for name in label.split(",")))
        grid = PatchGrid(patch_size, patch_stride) if patches else None
        options = TagOptions(labels, grid, pixel_size, int(cache_gb * 1e9))
        session = TagSession(found, options, suggestions)
        serve_tags(session, port, browser, typer.echo)
        typer.echo(next_step(session))


def next_step(session: TagSession) -> str:
    """What a user does after a session has ended."""
    root = session.folder.root
    done, total = len(session.writer.done()), len(session.folder.volumes)
    if not done:
        return f"None of {total} volumes is confirmed yet. The same command goes on."
    bundle = "auto" if session.options.grid is None else "oeem"
    return (
        f"{done} of {total} volumes are confirmed, in {root / 'dataset.json'}. The same command goes on.\n"
        f"Next: camtools train {bundle} {shlex.quote(str(root))} --output-dir RUN"
    )
