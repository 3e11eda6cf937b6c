"""The table that compares methods on pooled pixels and on single objects, as papers on glands show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from camtools.scores.compare import UPPER_BOUND, is_ranked, named_runs
from camtools.scores.pooled import POOLED_FILE, PooledRow, read_pooled
from camtools.scores.tables import best_in_bold, markdown_table

__all__ = ["format_pooled"]

# Title, output and score of each column.
COLUMNS = (
    ("CAM mIoU", "cam", "miou"),
    ("Pseudo-mask mIoU", "pseudo_mask", "miou"),
    ("Prediction mIoU", "prediction", "miou"),
    ("Dice", "prediction", "dice"),
    ("F1", "prediction", "f1"),
    ("Object Dice", "prediction", "object_dice"),
    ("Object F1", "prediction", "object_f1"),
)


def format_pooled(runs: Sequence[Path], split: str = "test") -> str | None:
    r"""Markdown table of the pooled scores of several runs, in %: a row per run, the best of each column bold.

    The first three columns are those of table 2 of the OEEM paper (Li et al., MICCAI 2022), the next two those of its
    table 1 (for the Dice see :class:`~camtools.metrics.TwoClassCounts`), the last two the object scores of the GlaS
    challenge. The method called "full" is shown but never the best, and a column with one other run has no best.

    Args:
        runs: run directories, with or without ``pooled_metrics.csv``; they are named as in
            :func:`camtools.scores.compare.compare`.
        split: which rows to compare.

    Returns:
        The table, ``-`` where a run has no such score, and a note; None when no run has pooled scores of the split.

    Raises:
        ValueError: a run given twice, or a file that cannot be read.

    Example:
        >>> import tempfile
        >>> lines = [
        ...     "split,output,images,miou,dice,f1,precision,recall,object_dice,object_f1",
        ...     "test,prediction,80,0.75,0.85,0.8,0.7,0.9,,",
        ... ]
        >>> with tempfile.TemporaryDirectory() as run:
        ...     _ = Path(run, "pooled_metrics.csv").write_text("\n".join(lines))
        ...     table = format_pooled([Path(run)])
        >>> table.splitlines()[2].split(" | ")[1:]
        ['-', '-', '75.00', '85.00', '80.00', '-', '-', '80 |']
    """
    rows = {name: _rows_of_split(run / POOLED_FILE, split) for name, run in named_runs(runs).items()}
    if not any(rows.values()):
        return None
    ranked = [is_ranked(name) for name in rows]
    columns = [best_in_bold([_score(own, *key) for own in rows.values()], ranked=ranked) for _, *key in COLUMNS]
    titles = ["Method", *(title for title, *_ in COLUMNS), "Images"]
    images = [str(max((row.images for row in own.values()), default="-")) for own in rows.values()]
    note = (
        f"Split {split}, in %, pixels of all images pooled. mIoU and Dice: mean over object and background; F1: of the "
        "object's pixels; object Dice and object F1: single objects, as in the GlaS challenge."
    )
    if any("**" in cell for column in columns for cell in column):
        note += f" Bold: best, '{UPPER_BOUND}' (the upper bound) apart."
    return f"{markdown_table(titles, list(zip(rows, *columns, images, strict=True)))}\n\n{note}"


def _rows_of_split(path: Path, split: str) -> dict[str, PooledRow]:
    """Rows by output; none where there is no such file."""
    return {row.output: row for row in read_pooled(path) if row.split == split} if path.is_file() else {}


def _score(rows: Mapping[str, PooledRow], output: str, score: str) -> float | None:
    """A score in %."""
    value = getattr(rows[output], score) if output in rows else None
    return None if value is None else 100 * value
