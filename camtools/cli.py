"""The command line: ``camtools phantom``, ``camtools compare``, ``camtools ablate``, ``camtools report``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Segmentation from image-level labels.")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors that name their cause end a command with that one message, not with a traceback."""
    from camtools.data.errors import reason

    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        message = reason(error) if error.__cause__ else str(error)
        typer.secho(f"Error: {message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(code=1) from error


def _overrides(arguments: list[str]) -> dict[str, Any]:
    if len(arguments) % 2 or any(not name.startswith("--") for name in arguments[::2]):
        raise ValueError(f"Expected pairs of --id value after the options, got {' '.join(arguments)}.")
    return {name[2:]: yaml.safe_load(value) for name, value in zip(arguments[::2], arguments[1::2], strict=True)}


# Heavy imports stay inside the commands, so that --help answers at once.


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="New folder for the volumes and their dataset.json.")],
    kind: Annotated[str, typer.Option(help="Kind of phantom.")] = "fetal_brain",
    n: Annotated[int, typer.Option(help="Number of volumes over all splits.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed: the same seed gives the same volumes.")] = 0,
) -> None:
    """Write phantom volumes with masks and slice tags."""
    from camtools.data.phantoms import write_phantoms

    with _plain_errors():
        typer.echo(f"Wrote {write_phantoms(kind, out, n=n, seed=seed)}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs.")],
    split: Annotated[str, typer.Option(help="Split to compare on: test or validation.")] = "test",
) -> None:
    """Print the table of the paper for several runs."""
    from camtools.engine.compare import compare as compare_runs
    from camtools.engine.compare import format_table

    with _plain_errors():
        typer.echo(format_table(compare_runs(runs, split=split)))


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Write report.html of a run again."""
    from camtools.report import write_report

    with _plain_errors():
        typer.echo(f"Wrote {write_report(run)}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def ablate(
    context: typer.Context,
    config_file: Annotated[Path, typer.Argument(help="train.yaml of a bundle.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the runs, one sub-folder a method.")],
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas.")
    ] = "gradcam,average,umcam,spl,umcam+spl,full",
    overlay: Annotated[list[Path] | None, typer.Option(help="Overlay of the configuration; may be repeated.")] = None,
    splits: Annotated[str, typer.Option(help="Splits to print, separated by commas.")] = "validation,test",
) -> None:
    """Run a bundle once for each method, with one classifier, and print the table of the paper.

    What follows as ``--id value`` overrides the configuration, as with ``python -m monai.bundle run``.
    """
    from camtools.engine.ablation import run_methods
    from camtools.engine.compare import compare as compare_runs
    from camtools.engine.compare import format_table
    from camtools.engine.metrics_csv import read_metrics

    with _plain_errors():
        runs = run_methods([config_file, *(overlay or [])], output_dir, methods.split(","), _overrides(context.args))
        present = {row.split for row in read_metrics(runs[0] / "metrics.csv")}
        for split in [name for name in splits.split(",") if name in present]:
            typer.echo(f"\n{split}\n{format_table(compare_runs(runs, split=split))}")
        typer.echo("\nReports: " + ", ".join(str(run / "report.html") for run in runs))
