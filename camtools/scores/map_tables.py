"""Scores of activation maps as files and as Markdown tables."""

from __future__ import annotations

from pathlib import Path

from camtools.metrics import PixelCounts
from camtools.scores.map_scores import CamQuality, CamScores
from camtools.scores.tables import best_in_bold, markdown_table, write_csv

__all__ = [
    "POOLED",
    "POOLED_COLUMNS",
    "format_cam_scores",
    "pooled_percent",
    "write_cam_scores",
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
    pooled = zip(*(pooled_percent(one.counts) for one in quality.scores), strict=True)
    spreads = zip(*map(_spreads, quality.scores), strict=True)
    columns = [best_in_bold(values) for values in pooled]
    for column, lower_is_better in zip(spreads, (False, False, True), strict=True):
        means, deviations = zip(*column, strict=True)
        columns.append(best_in_bold(means, deviations, higher_is_better=not lower_is_better))
    rules = [one.rule if one.threshold is None else f"{one.rule} ({one.threshold:.2f})" for one in quality.scores]
    rows = list(zip([one.method for one in quality.scores], rules, *columns, strict=True))
    titles = ["Method", "Threshold", *POOLED, "DSC (%)", "IoU (%)", "HD95 (pixels)"]
    note = (
        f"Split {quality.split}, {len(quality.scores[0].slices)} slices that show the object, scored in 2D. mIoU (of "
        "the object), precision, recall and micro-F1: all pixels of these slices pooled. DSC, IoU and HD95: mean ± "
        "standard deviation over slices. Bold: best."
    )
    return f"{markdown_table(titles, rows)}\n\n{note}"


def _spreads(one: CamScores) -> list[tuple[float, float]]:
    """Mean and standard deviation over slices of Dice and IoU in % and of HD95 in pixels."""
    return [*((100 * mean, 100 * deviation) for mean, deviation in (one.dice, one.iou)), one.hd95]
