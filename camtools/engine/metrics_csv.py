"""The file ``metrics.csv`` of a run: one line per scored slice of pseudo-mask or per predicted volume."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from camtools.data.files import atomic_path
from camtools.metrics import SegmentationScores

__all__ = ["OUTPUTS", "MetricsRow", "read_metrics", "write_metrics"]

HEADER = ("split", "output", "case", "slice", "dice", "iou", "hd95_px", "hd95_mm")
OUTPUTS = ("pseudo_mask", "prediction")
FRACTIONS = ("dice", "iou")


@dataclass(frozen=True)
class MetricsRow:
    """One line of ``metrics.csv``.

    Attributes:
        split: name of the split, such as ``"test"``.
        output: ``"pseudo_mask"`` (one row per positive slice) or ``"prediction"`` (one row per volume).
        case: name of the volume.
        slice_index: index of the slice for a pseudo-mask, None for a prediction.
        scores: the four values.

    Raises:
        ValueError: an unknown output, a slice where there should be none (or none where there should be one), or a
            score out of its range.
    """

    split: str
    output: str
    case: str
    slice_index: int | None
    scores: SegmentationScores

    def __post_init__(self) -> None:
        """Check what a frozen row can be checked for once."""
        if self.output not in OUTPUTS:
            raise ValueError(f"output: expected one of {', '.join(OUTPUTS)}, found {self.output!r}.")
        index = self.slice_index
        if (index is not None) if self.output == "prediction" else (index is None or index < 0):
            raise ValueError(
                "slice: expected an index >= 0 for a pseudo_mask and nothing for a prediction, "
                f"found {index} for a {self.output}."
            )
        for name, value in asdict(self.scores).items():
            highest = 1.0 if name in FRACTIONS else math.inf
            if value is not None and not (0 <= value <= highest and math.isfinite(value)):
                raise ValueError(f"{name}: expected a finite number from 0 to {highest:g}, found {value}.")

    @property
    def key(self) -> tuple[str, int]:
        """What pairs this row with that of another run: the case and the slice (-1 for a volume)."""
        return self.case, -1 if self.slice_index is None else self.slice_index


def write_metrics(path: Path, rows: Iterable[MetricsRow]) -> None:
    """Write ``metrics.csv`` under a temporary name, then rename it: no reader ever sees half a file.

    Numbers keep six significant digits; an unknown ``hd95_mm`` and the slice of a prediction are left empty.

    Args:
        path: the file, in an existing run directory.
        rows: its lines.

    Raises:
        ValueError: two rows for the same split, output, case and slice.

    Example:
        >>> import tempfile
        >>> row = MetricsRow("test", "prediction", "case_1", None, SegmentationScores(0.8, 2 / 3, 5.0))
        >>> with tempfile.TemporaryDirectory() as run:
        ...     write_metrics(Path(run, "metrics.csv"), [row])
        ...     print(Path(run, "metrics.csv").read_text().splitlines()[1])
        test,prediction,case_1,,0.8,0.666667,5,
    """
    rows = list(rows)
    _check_unique(path, rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        scores = ("" if value is None else f"{value:.6g}" for value in astuple(row.scores))
        index = "" if row.slice_index is None else row.slice_index
        writer.writerow((row.split, row.output, row.case, index, *scores))
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def read_metrics(path: Path) -> list[MetricsRow]:
    """Read a ``metrics.csv`` that :func:`write_metrics` wrote.

    Raises:
        FileNotFoundError: no such file; the message names the stage that writes it.
        ValueError: other columns, a line that cannot be read (the message names it), or a row given twice.

    Example:
        >>> import tempfile
        >>> row = MetricsRow("test", "pseudo_mask", "case_1", 7, SegmentationScores(0.8, 0.75, 5.0, 2.5))
        >>> with tempfile.TemporaryDirectory() as run:
        ...     write_metrics(Path(run, "metrics.csv"), [row])
        ...     read_metrics(Path(run, "metrics.csv")) == [row]
        True
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}: the evaluate stage writes it. Run python -m monai.bundle run "
            f"--config_file bundles/<method>/configs/evaluate.yaml --output_dir {path.parent}"
        )
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != HEADER:
            raise ValueError(
                f"{path}: expected the columns {','.join(HEADER)}, found {','.join(header) or 'an empty file'}; "
                "run the evaluate stage again."
            )
        rows = [_parse(path, reader.line_num, fields) for fields in reader]
    _check_unique(path, rows)
    return rows


def _parse(path: Path, line: int, fields: list[str]) -> MetricsRow:
    try:
        split, output, case, index, dice, iou, hd95_px, hd95_mm = fields
        scores = SegmentationScores(float(dice), float(iou), float(hd95_px), float(hd95_mm) if hd95_mm else None)
        return MetricsRow(split, output, case, int(index) if index else None, scores)
    except ValueError as error:
        raise ValueError(
            f"{path}, line {line}: cannot read {','.join(fields)!r}: {error} Run the evaluate stage again."
        ) from error


def _check_unique(path: Path, rows: Sequence[MetricsRow]) -> None:
    counts = Counter((row.split, row.output, row.key) for row in rows)
    for (split, output, (case, index)), count in counts.items():
        if count > 1:
            where = case if output == "prediction" else f"{case} slice {index}"
            raise ValueError(
                f"{path}: expected one {output} row for {where} in split {split}, found {count}; "
                "give every volume of the dataset its own name."
            )
