"""The tables of scores on the page."""

from __future__ import annotations

from collections.abc import Sequence

from camtools.report.content import RunContent
from camtools.report.markup import UNKNOWN, note, table, warning
from camtools.report.summaries import (
    OUTPUT_NAMES,
    SCORES,
    Score,
    Summary,
    pseudo_mask_dice,
    ranked_predictions,
    summarise,
)
from camtools.report.viewer import Views
from camtools.report.viewer_section import view_link
from camtools.scores.collapsed import collapse_warning
from camtools.scores.metrics_csv import MetricsRow
from camtools.scores.pooled import PooledRow

__all__ = ["scores_section"]

HEADINGS = [score.heading for score in SCORES]


def scores_section(run: RunContent, views: Views) -> str:
    """Means of every output, scores of all pixels, and a row per case that leads to its slices.

    Args:
        run: what the run left; a note says where it has no scores.
        views: cases of the viewer.
    """
    if not run.metrics.content:
        return note(run.metrics.note or "metrics.csv holds no scores: no item has a mask to compare with.")
    rows = run.metrics.content
    return _collapsed(run, rows) + _means(rows) + _pooled(run.pooled.content or []) + _cases(rows, views)


def _collapsed(run: RunContent, rows: Sequence[MetricsRow]) -> str:
    """Warnings on splits whose predictions find nothing."""
    method = str((run.manifest.content or {}).get("method") or run.folder.resolve().name)
    warnings = []
    for split in dict.fromkeys(row.split for row in rows):
        own = [row for row in rows if row.split == split]
        warnings.append(collapse_warning(own, run.folder / "predictions", method))
    return "".join(warning(message) for message in warnings if message)


def _means(rows: Sequence[MetricsRow]) -> str:
    means = []
    for part in summarise(rows):
        spreads = [_spread(part, score) for score in SCORES]
        means.append([part.split, OUTPUT_NAMES[part.output], part.count, *spreads])
    caption = "Mean ± standard deviation: predictions per volume in 3D, pseudo-masks per positive slice in 2D"
    return table(caption, ["Split", "Output", "Number", *HEADINGS], means, numbers=5, sortable=True)


def _spread(part: Summary, score: Score) -> str:
    if score.name not in part.spreads:
        return UNKNOWN
    mean, deviation = part.spreads[score.name]
    return f"{score.text(mean)} ± {score.text(deviation)}"


def _cases(rows: Sequence[MetricsRow], views: Views) -> str:
    predictions = ranked_predictions(rows)
    if not predictions:
        return ""
    pseudo_masks = {row.case: pseudo_mask_dice(rows, row.case) for row in predictions}
    cases = []
    for row in predictions:
        scores = [score.text(getattr(row.scores, score.name)) for score in SCORES]
        cases.append([row.case, row.split, *scores, SCORES[0].text(pseudo_masks[row.case])])
    headings = ["Case", "Split", *HEADINGS, "Pseudo-mask Dice (%)"]
    if not any(value is not None for value in pseudo_masks.values()):
        headings, cases = headings[:-1], [row[:-1] for row in cases]
    links = {view.case: view_link(number) for number, view in enumerate(views.cases)}
    caption = "Predictions, one row per case"
    numbers = len(headings) - 2
    return table(caption, headings, cases, numbers, links, sortable=True, ascending=SCORES[0].heading)


def _pooled(rows: Sequence[PooledRow]) -> str:
    """Scores of all pixels and objects of a split; empty where the run has none."""
    if not rows:
        return ""
    names = {"miou": "mIoU (%)", "dice": "Dice (%)", "f1": "F1 (%)"}
    names |= {"object_dice": "Object Dice (%)", "object_f1": "Object F1 (%)"}
    shown = []
    for row in rows:
        scores = [SCORES[0].text(getattr(row, name)) for name in names]
        shown.append([row.split, OUTPUT_NAMES[row.output], row.images, *scores])
    caption = "Pixels and objects of all images together: mIoU and Dice are means over object and background"
    return table(caption, ["Split", "Output", "Number", *names.values()], shown, numbers=6, sortable=True)
