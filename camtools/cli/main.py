"""The command line: ``camtools phantom``, ``import``, ``compare``, ``report``, ``ablate``, and more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camtools.cli.checking import check
from camtools.cli.common import WITH_OVERRIDES, overrides, plain_errors
from camtools.cli.importing import channels, dataset, import_app
from camtools.cli.label import label
from camtools.cli.patches import patches
from camtools.cli.running import predict, train
from camtools.cli.tag import tag
from camtools.cli.tuning import tune
from camtools.process import prepare_process

if TYPE_CHECKING:
    import torch

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Segmentation from image-level labels.")
app.add_typer(import_app, name="import")
app.command(context_settings=WITH_OVERRIDES)(label)
app.command()(dataset)
app.command()(channels)
app.command()(patches)
app.command()(tag)
app.command(context_settings=WITH_OVERRIDES)(train)
app.command(context_settings=WITH_OVERRIDES)(predict)
app.command(context_settings=WITH_OVERRIDES)(check)
app.command(context_settings=WITH_OVERRIDES)(tune)

_ConfigFile = Annotated[Path, typer.Argument(help="train.yaml of a bundle.")]
_Overlay = Annotated[list[Path] | None, typer.Option(help="Overlay of the configuration; may be repeated.")]
_Split = Annotated[str, typer.Option(help="Split with masks: validation or test.")]
_Target = Annotated[int, typer.Option(help="Class of the object; 0 for a classifier with one logit.")]
_BatchSize = Annotated[int | None, typer.Option(help="Slices per pass; default: what is fast on the device.")]
# Both spellings: the bundle has knobs of these names, which would otherwise be taken for overrides without effect.
_ScoringDtype = Annotated[
    str | None,
    typer.Option(
        "--scoring-dtype",
        "--scoring_dtype",
        help="Cfd-CAM: bfloat16 or float16 for the masked passes, where the device computes in it.",
    ),
]
_ChannelShare = Annotated[
    float,
    typer.Option(
        "--channel-share", "--channel_share", help="Cfd-CAM: share of the channels that are scored; 1 is exact."
    ),
]


def _dtype(name: str | None) -> torch.dtype | None:
    import torch

    found = {None: None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in found:
        raise ValueError(f"--scoring-dtype: expected bfloat16 or float16, found {name!r}.")
    return found[name]


# Heavy imports stay inside the commands, so that --help answers at once.


def _tables(runs: list[Path], split: str) -> str:
    from camtools.scores.collapsed import collapse_warnings
    from camtools.scores.compare import compare as compare_runs
    from camtools.scores.compare import format_table
    from camtools.scores.compare_pooled import format_pooled

    tables = [format_table(compare_runs(runs, split=split)), format_pooled(runs, split)]
    return "\n\n".join(part for part in [*tables, *collapse_warnings(runs, split)] if part)


@app.callback()
def _before_any_command() -> None:
    prepare_process()


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="New folder for the volumes and their dataset.json.")],
    kind: Annotated[str, typer.Option(help="Kind of phantom: fetal_brain, gland or tumour.")] = "fetal_brain",
    n: Annotated[int, typer.Option(help="Number of volumes over all splits.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed: the same seed gives the same volumes.")] = 0,
) -> None:
    """Write phantom volumes with masks and slice tags."""
    from camtools.data.phantoms import write_phantoms

    with plain_errors():
        typer.echo(f"Wrote {write_phantoms(kind, out, n=n, seed=seed)}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs.")],
    split: Annotated[str, typer.Option(help="Split to compare on: test or validation.")] = "test",
) -> None:
    """Print the table of the paper for several runs, and their pooled scores where a run has them."""
    with plain_errors():
        typer.echo(_tables(runs, split))


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Write report.html of a run again."""
    from camtools.report import write_report

    with plain_errors():
        typer.echo(f"Wrote {write_report(run)}")


@app.command(context_settings=WITH_OVERRIDES)
def ablate(
    context: typer.Context,
    config_file: _ConfigFile,
    output_dir: Annotated[Path, typer.Option(help="Folder of the runs, one sub-folder per method.")],
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas.")
    ] = "gradcam,average,umcam,spl,umcam+spl,full",
    overlay: _Overlay = None,
    splits: Annotated[str, typer.Option(help="Splits to print, separated by commas.")] = "validation,test",
) -> None:
    """Run a bundle once for each method, with one classifier, and print the table of the paper.

    What follows as ``--id value`` overrides the configuration, as with ``python -m monai.bundle run``.
    """
    from camtools.engine.ablation import run_methods
    from camtools.scores.metrics_csv import read_metrics

    with plain_errors():
        runs = run_methods([config_file, *(overlay or [])], output_dir, methods.split(","), overrides(context.args))
        present = {row.split for row in read_metrics(runs[0] / "metrics.csv")}
        for split in [name for name in splits.split(",") if name in present]:
            typer.echo(f"\n{split}\n{_tables(runs, split)}")
        typer.echo("\nReports: " + ", ".join(str(run / "report.html") for run in runs))


@app.command(context_settings=WITH_OVERRIDES)
def evaluate_cams(
    context: typer.Context,
    config_file: _ConfigFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for cam_scores.csv, cam_slices.csv and cam_sheet.png.")],
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas; an unknown one lists them all.")
    ] = "gradcam++,gradcam,fullgrad,layercam,layercam-5,ltgradcam-0,ltgradcam",
    rules: Annotated[
        str, typer.Option(help="Rules from map to mask: otsu, midpoint, search, crf; the first is drawn.")
    ] = "otsu,midpoint,search",
    split: _Split = "validation",
    overlay: _Overlay = None,
    target: _Target = 1,
    batch_size: _BatchSize = None,
    scoring_dtype: _ScoringDtype = None,
    channel_share: _ChannelShare = 1.0,
) -> None:
    """Score activation maps of a trained classifier against the masks, for any list of methods.

    What follows as ``--id value`` overrides the configuration, as with ``python -m monai.bundle run``; the classifier
    is read from ``--classifier_dir DIR``, and the rule crf uses the CRF of the configuration if it has one.
    """
    from camtools.report.map_pictures import write_cam_sheet
    from camtools.scores.classifier import load_trained_classifier
    from camtools.scores.map_scores import evaluate_cams as evaluate
    from camtools.scores.map_tables import format_cam_scores, write_cam_scores

    with plain_errors():
        cfd_options = {"scoring_dtype": _dtype(scoring_dtype), "channel_share": channel_share}
        classifier = load_trained_classifier([config_file, *(overlay or [])], overrides(context.args))
        output_dir.mkdir(parents=True, exist_ok=True)
        quality = evaluate(classifier, methods.split(","), rules.split(","), split, target, batch_size, cfd_options)
        write_cam_scores(quality, output_dir)
        write_cam_sheet(quality.views, split, output_dir / "cam_sheet.png")
        typer.echo(
            f"\n{format_cam_scores(quality)}\n\nWrote cam_scores.csv, cam_slices.csv, cam_sheet.png: {output_dir}"
        )


@app.command(context_settings=WITH_OVERRIDES)
def sweep_lt(
    context: typer.Context,
    config_file: _ConfigFile,
    output_dir: Annotated[Path, typer.Option(help="Folder for lt_sweep.csv, lt_layers.csv and lt_sweep.png.")],
    split: _Split = "validation",
    overlay: _Overlay = None,
    target: _Target = 1,
    batch_size: _BatchSize = None,
) -> None:
    """Score maps over the truncation percentile of LTGrad-CAM, and Grad-CAM over its layers.

    What follows as ``--id value`` overrides the configuration, as with ``python -m monai.bundle run``; the classifier
    is read from ``--classifier_dir DIR``.
    """
    from camtools.report.map_pictures import write_lt_plot
    from camtools.scores.classifier import load_trained_classifier
    from camtools.scores.lt_sweep import format_lt_sweep, write_lt_sweep
    from camtools.scores.lt_sweep import sweep_lt as sweep

    with plain_errors():
        classifier = load_trained_classifier([config_file, *(overlay or [])], overrides(context.args))
        output_dir.mkdir(parents=True, exist_ok=True)
        result = sweep(classifier, split, target, batch_size)
        write_lt_sweep(result, output_dir)
        write_lt_plot(result, output_dir / "lt_sweep.png")
        typer.echo(f"\n{format_lt_sweep(result)}\n\nWrote lt_sweep.csv, lt_layers.csv, lt_sweep.png: {output_dir}")
