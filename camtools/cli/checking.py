"""The command ``camtools check``: read every file of a dataset, without training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from camtools.cli.common import plain_errors
from camtools.cli.running import Bundles, bundle_command, check_listed, find_bundle, in_shell

__all__ = ["check", "format_check"]


def check(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder with dataset.json, as camtools tag and import write it.")],
    bundle: Annotated[str, typer.Option(help="Bundle that is to be trained.")] = "umcam",
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--output_dir", help="Keep dataset_check.json in this folder; default: nowhere."),
    ] = None,
    bundles: Bundles = Path("bundles"),
) -> None:
    """Read every volume, mask and tag of a folder, and list all that cannot be used.

    What follows as ``--knob value`` sets knobs of the bundle. The command that runs is printed first.
    """
    with plain_errors(), ExitStack() as stack:
        train_file = find_bundle(bundles, bundle) / "configs" / "train.yaml"
        check_listed(folder)
        if output_dir is None:
            output_dir = Path(stack.enter_context(TemporaryDirectory(prefix="camtools-check-")))
        _check_no_training(output_dir)
        places = {"dataset_dir": folder, "output_dir": output_dir}
        command = bundle_command("check", [train_file], places, context.args)
        typer.echo(in_shell(command))
        sys.stdout.flush()
        code = subprocess.run([sys.executable, *command[1:]], check=False).returncode
        if code:
            raise typer.Exit(code)
        typer.echo(format_check(json.loads((output_dir / "dataset_check.json").read_text(encoding="utf-8"))))


def format_check(rows: Sequence[dict[str, Any]]) -> str:
    """What ``dataset_check.json`` says, one line per split.

    Example:
        >>> row = {"split": "test", "shape": [64, 64, 9], "spacing": [1.0, 1.0, 5.0], "plane": "axial"}
        >>> print(format_check([row, row | {"shape": [64, 64, 12]}]))
        test: 2 volumes of 64 x 64 x 9-12 voxels, 1 x 1 x 5 mm, axial
    """
    lines = []
    for split in dict.fromkeys(row["split"] for row in rows):
        members = [row for row in rows if row["split"] == split]
        shape = _ranges(row["shape"] for row in members)
        spacing = _ranges(row["spacing"] for row in members)
        planes = sorted({str(row["plane"]) for row in members if row.get("plane")})
        line = ", ".join([f"{split}: {len(members)} volumes of {shape} voxels", f"{spacing} mm", *planes])
        for unit in ("slices", "patches"):
            if any(unit in row for row in members):
                positive = sum(row.get(f"positive_{unit}", 0) for row in members)
                line += f", {positive} of {sum(row.get(unit, 0) for row in members)} {unit} positive"
        lines.append(line)
    return "\n".join(lines)


def _ranges(values: Iterable[Sequence[float]]) -> str:
    """Smallest and largest value along each axis."""
    texts = []
    for axis in zip(*values, strict=False):
        low, high = min(axis), max(axis)
        texts.append(f"{low:g}" if low == high else f"{low:g}-{high:g}")
    return " x ".join(texts)


def _check_no_training(folder: Path) -> None:
    """The check would write its own settings into the record of a training, from which camtools predict reads them."""
    from camtools.engine.records import read_json_object

    record, _ = read_json_object(folder / "manifest.json")
    if record is not None and set(record.get("stages", ())) - {"check"}:
        raise FileExistsError(
            f"Expected a folder for the check alone, found a training in {folder}. Give another --output-dir, or none."
        )
