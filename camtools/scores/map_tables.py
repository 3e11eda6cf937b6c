"""Scores of activation maps as files and as Markdown tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camtools.data.files import atomic_path
from camtools.metrics import PixelCounts
from camtools.scores.map_scores import CamQuality, CamScores

__all__ = [
    "POOLED",
    "POOLED_COLUMNS",
    "format_cam_scores",
    "markdown_table",
    "pooled_percent",
    "write_cam_scores",
    "write_csv",
]

POOLED = ("mIoU (%)", "Precision (%)", "Recall (%)", "Micro-F1 (%)")
POOLED_COLUMNS = ("miou_percent", "precision_percent", "recall_percent", "f1_percent")
SPREAD_COLUMNS = (
    "dice_percent_mean",
    "dice_percent_std",
    "iou_percent_mean",
    "iou_percent_std",
    "hd95_px_mean",
    "hd95_px_std",
)


def pooled_percent(counts: PixelCounts) -> list[float]:
    """IoU, precision, recall and F1 of pooled pixels, in %, in the order of :data:`POOLED`.

    Example:
        >>> pooled_percent(PixelCounts(1, 1, 0))[:3]
        [50.0, 50.0, 100.0]
    """
    return [100 * value for value in (counts.iou, counts.precision, counts.recall, counts.f1)]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table, atomically; floats keep six significant digits and None is an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)


def write_cam_scores(quality: CamQuality, folder: str | Path) -> None:
    """Write ``cam_scores.csv`` (a line per method and rule) and ``cam_slices.csv`` (a line per method, rule and slice).

    In ``cam_scores.csv`` scores are in %, distances in pixels, and ``threshold`` is the searched one, empty for the
    other rules. In ``cam_slices.csv`` Dice and IoU are fractions, as in ``metrics.csv``.
    """
    write_csv(
        Path(folder) / "cam_scores.csv",
        ["split", "method", "rule", "threshold", "slices", *POOLED_COLUMNS, *SPREAD_COLUMNS],
        [
            [quality.split, one.method, one.rule, one.threshold, len(one.slices), *pooled_percent(one.counts), *spread]
            for one in quality.scores
            for spread in [[value for pair in _spreads(one) for value in pair]]
        ],
    )
    write_csv(
        Path(folder) / "cam_slices.csv",
        ["split", "method", "rule", "case", "slice", "dice", "iou", "hd95_px"],
        [
            [quality.split, one.method, one.rule, case, index, scores.dice, scores.iou, scores.hd95_px]
            for one in quality.scores
            for case, index, scores in one.slices
        ],
    )


def format_cam_scores(quality: CamQuality) -> str:
    """Markdown table of all scores, a line per method and rule, the best of each column bold; what it shows below."""
    columns = [[f"{value:.2f}" for value in column] for column in zip(*map(_ranked, quality.scores), strict=True)]
    best = [max(column, key=float) for column in columns[:-1]] + [min(columns[-1], key=float)]
    rows = []
    for index, one in enumerate(quality.scores):
        deviations = [""] * len(POOLED) + [f" ± {deviation:.2f}" for _, deviation in _spreads(one)]
        cells = [
            f"**{column[index]}{deviation}**" if column[index] == winner else f"{column[index]}{deviation}"
            for column, deviation, winner in zip(columns, deviations, best, strict=True)
        ]
        rule = one.rule if one.threshold is None else f"{one.rule} ({one.threshold:.2f})"
        rows.append([one.method, rule, *cells])
    titles = ["Method", "Threshold", *POOLED, "DSC (%)", "IoU (%)", "HD95 (pixels)"]
    note = (
        f"Split {quality.split}, {len(quality.scores[0].slices)} slices that show the object, scored in 2D. mIoU (of "
        "the object), precision, recall and micro-F1: all pixels of these slices pooled. DSC, IoU and HD95: mean ± "
        "standard deviation over slices. Bold: best."
    )
    return f"{markdown_table(titles, rows)}\n\n{note}"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown of a table.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(titles)}", *lines[1:]])


def _ranked(one: CamScores) -> list[float]:
    """What the columns are ranked by; the lowest is best in the last one."""
    return [*pooled_percent(one.counts), *(mean for mean, _ in _spreads(one))]


def _spreads(one: CamScores) -> list[tuple[float, float]]:
    """Mean and standard deviation over slices of Dice and IoU in % and of HD95 in pixels."""
    return [*((100 * mean, 100 * deviation) for mean, deviation in (one.dice, one.iou)), one.hd95]
