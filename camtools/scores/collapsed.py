"""Networks that predict nothing: their row in a table says nothing about the method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camtools.data.case_names import output_file
from camtools.data.volumes import read_mask
from camtools.scores.compare import named_runs
from camtools.scores.metrics_csv import MetricsRow, read_metrics

__all__ = ["collapse_warning", "collapse_warnings"]

NOTHING = 0.01  # mean Dice below which predictions found nothing


def collapse_warnings(runs: Sequence[Path], split: str) -> list[str]:
    """Warnings on the runs of a table whose predictions find nothing, in the order of the runs.

    Args:
        runs: run directories, each with ``metrics.csv``.
        split: which rows the table shows.

    Raises:
        FileNotFoundError: a run without ``metrics.csv``.
        ValueError: a run given twice, or a file that cannot be read.
    """
    found = []
    for name, run in named_runs(runs).items():
        rows = [row for row in read_metrics(run / "metrics.csv") if row.split == split]
        found.append(collapse_warning(rows, run / "predictions", name))
    return [warning for warning in found if warning]


def collapse_warning(rows: Sequence[MetricsRow], predictions: Path, name: str) -> str:
    """A warning where the predictions of one split find nothing, else an empty text.

    They find nothing where their mean Dice is below 1 % over the volumes that show the object. A volume with a Dice of
    1 shows none if its prediction is empty.

    Args:
        rows: rows of one split.
        predictions: folder of the predicted masks.
        name: name of the run in the warning.

    Example:
        >>> from camtools.metrics import SegmentationScores
        >>> row = MetricsRow("test", "prediction", "a", None, SegmentationScores(0.0, 0.0, 20.0))
        >>> collapse_warning([row], Path("run/predictions"), "gradcam")[:45]
        'Warning: the predictions of gradcam find noth'
    """
    scored = [row for row in rows if row.output == "prediction"]
    dice = [row.scores.dice for row in scored if row.scores.dice < 1]
    if not dice or np.mean(dice) >= NOTHING:
        return ""
    if any(_shows_object(predictions, row.case) for row in scored if row.scores.dice == 1):
        return ""
    return (
        f"Warning: the predictions of {name} find nothing: their mean Dice is {100 * np.mean(dice):.1f} % over the "
        f"{len(dice)} {scored[0].split} volumes that show the object. This is a failed training, not a score of the "
        "method. Look at the training curves in report.html, and train the segmenter longer or from other labels."
    )


def _shows_object(predictions: Path, case: str) -> bool:
    """Whether the prediction of a volume with a Dice of 1 marks anything; also where there is no file to read."""
    path = output_file(predictions, case, ".nii.gz")
    return not path.is_file() or bool(read_mask(path).any())
