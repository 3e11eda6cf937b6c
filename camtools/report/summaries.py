"""Scores of a run in the numbers of the report: means per split and output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camtools.report.content import SPLITS
from camtools.report.markup import UNKNOWN
from camtools.scores.metrics_csv import OUTPUTS, MetricsRow

__all__ = [
    "OUTPUT_NAMES",
    "SCORES",
    "Score",
    "Summary",
    "case_scores",
    "pseudo_mask_dice",
    "ranked_predictions",
    "split_place",
    "summarise",
]

OUTPUT_NAMES = {"prediction": "Prediction", "pseudo_mask": "Pseudo-mask", "cam": "CAM"}


@dataclass(frozen=True)
class Score:
    """How one score is shown: its attribute in :class:`camtools.metrics.SegmentationScores`, heading and scale."""

    name: str
    heading: str
    scale: float = 1.0
    digits: int = 2

    def text(self, value: float | None) -> str:
        """One value; a dash where it is unknown."""
        return UNKNOWN if value is None else f"{self.scale * value:.{self.digits}f}"


SCORES = (
    Score("dice", "Dice (%)", 100, 1),
    Score("iou", "IoU (%)", 100, 1),
    Score("hd95_px", "HD95 (pixels)"),
    Score("hd95_mm", "HD95 (mm)"),
)


@dataclass(frozen=True)
class Summary:
    """Scores of one output on one split.

    Attributes:
        split: name of the split.
        output: ``"pseudo_mask"`` or ``"prediction"``.
        count: number of slices (pseudo-masks) or volumes (predictions).
        spreads: mean and standard deviation by name of the score; absent where a row lacks the score.
    """

    split: str
    output: str
    count: int
    spreads: dict[str, tuple[float, float]]


def summarise(rows: Sequence[MetricsRow]) -> list[Summary]:
    """Mean and standard deviation (population, as ``numpy.std``) per split and output, test first.

    Example:
        >>> from camtools.metrics import SegmentationScores
        >>> rows = [MetricsRow("test", "prediction", name, None, SegmentationScores(dice, 0.5, 2.0))
        ...         for name, dice in (("a", 0.8), ("b", 0.6))]
        >>> summarise(rows)[0].spreads["hd95_px"]
        (2.0, 0.0)
    """
    splits = sorted({row.split for row in rows}, key=lambda split: (split_place(split), split))
    summaries = []
    for split in splits:
        for output in reversed(OUTPUTS):
            chosen = [row for row in rows if (row.split, row.output) == (split, output)]
            if chosen:
                summaries.append(Summary(split, output, len(chosen), _spreads(chosen)))
    return summaries


def ranked_predictions(rows: Sequence[MetricsRow]) -> list[MetricsRow]:
    """Rows of predictions, worst first: by Dice, then by distance."""
    predictions = (row for row in rows if row.output == "prediction")
    return sorted(predictions, key=lambda row: (row.scores.dice, -row.scores.hd95_px))


def case_scores(rows: Sequence[MetricsRow], case: str) -> str:
    """Scores of one case's prediction, and the mean Dice of its pseudo-masks, in words; empty where it has none.

    Example:
        >>> from camtools.metrics import SegmentationScores
        >>> case_scores([MetricsRow("test", "prediction", "a", None, SegmentationScores(0.8, 0.5, 2.0))], "a")
        'Dice 80.0 %, HD95 2.00 pixels'
    """
    parts = []
    for row in (row for row in rows if row.case == case and row.output == "prediction"):
        in_mm = row.scores.hd95_mm is not None
        distance = SCORES[3 if in_mm else 2].text(row.scores.hd95_mm if in_mm else row.scores.hd95_px)
        parts += [f"Dice {SCORES[0].text(row.scores.dice)} %", f"HD95 {distance} {'mm' if in_mm else 'pixels'}"]
    mean = pseudo_mask_dice(rows, case)
    return ", ".join(parts if mean is None else [*parts, f"pseudo-masks Dice {SCORES[0].text(mean)} %"])


def pseudo_mask_dice(rows: Sequence[MetricsRow], case: str) -> float | None:
    """Mean Dice of the pseudo-masks of one case, 0..1; None where none was scored."""
    found = [row.scores.dice for row in rows if row.case == case and row.output == "pseudo_mask"]
    return float(np.mean(found)) if found else None


def split_place(split: str) -> int:
    """Order of the splits on the page: test, validation, training, others."""
    return -SPLITS.index(split) if split in SPLITS else 1


def _spreads(rows: Sequence[MetricsRow]) -> dict[str, tuple[float, float]]:
    spreads = {}
    for score in SCORES:
        values = [getattr(row.scores, score.name) for row in rows]
        if None not in values:
            spreads[score.name] = (float(np.mean(values)), float(np.std(values)))
    return spreads
