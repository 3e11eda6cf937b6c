"""The table that compares methods: read the ``metrics.csv`` of several runs, pair their cases, print Markdown.

The layout and conventions are those of the UM-CAM paper, tables 1 and 2 (Fu et al., MICCAI 2023): pseudo-masks are
judged per slice in 2D, predictions per volume in 3D, as mean ± standard deviation; the best method of a column is
bold, with a ``*`` when it differs from the second best with p < 0.05.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from camtools.metrics import SegmentationScores
from camtools.scores.metrics_csv import OUTPUTS, MetricsRow, read_metrics
from camtools.scores.tables import best_in_bold, markdown_table

__all__ = ["ComparisonTable", "compare", "format_table", "is_ranked", "named_runs"]

# With fewer pairs the smallest two-sided p of the signed-rank test, 2 / 2**n, cannot fall below 0.05.
MIN_PAIRS = 6
SIGNIFICANCE = 0.05
NAMED_CASES = 10
# The method with full supervision is shown, but not ranked among those that see tags alone.
UPPER_BOUND = "full"

CaseScores = Mapping[tuple[str, int], SegmentationScores]


@dataclass(frozen=True)
class Column:
    """One column of scores: which rows and which score it shows, and what counts as better."""

    title: str
    unit: str
    output: str
    score: str
    scale: float
    higher_is_better: bool


COLUMNS = (
    Column("Pseudo-mask DSC (%)", "slices", "pseudo_mask", "dice", 100.0, True),
    Column("Pseudo-mask HD95 (pixels)", "slices", "pseudo_mask", "hd95_px", 1.0, False),
    Column("Prediction DSC (%)", "volumes", "prediction", "dice", 100.0, True),
    Column("Prediction HD95 (pixels)", "volumes", "prediction", "hd95_px", 1.0, False),
    Column("Prediction HD95 (mm)", "volumes", "prediction", "hd95_mm", 1.0, False),
)


@dataclass(frozen=True)
class PairedTest:
    """Two-sided Wilcoxon signed-rank test of the best run of a column against the second best.

    Attributes:
        best: name of the run with the best mean.
        second: name of the run with the second best mean.
        pairs: how many slices or volumes were paired.
        p_value: None with fewer than six pairs.
        significant: p < 0.05, the means differ, and the ranks too favour the best (a few outliers can turn a mean).
    """

    best: str
    second: str
    pairs: int
    p_value: float | None
    significant: bool


@dataclass(frozen=True)
class ColumnResult:
    """What one column holds: ``(mean, standard deviation)`` per run that has the score, and the test (two runs up)."""

    column: Column
    cells: Mapping[str, tuple[float, float]]
    test: PairedTest | None


@dataclass(frozen=True)
class ComparisonTable:
    """The comparison of several runs on one split.

    Attributes:
        split: name of the split.
        volumes: number of volumes scored, by name of run, in the order given.
        results: one entry per column.
    """

    split: str
    volumes: Mapping[str, int]
    results: tuple[ColumnResult, ...]


def compare(runs: Sequence[Path], split: str = "test") -> ComparisonTable:
    """Compare runs on one split: mean ± standard deviation (population, as ``numpy.std``), best, and paired tests.

    Slices and volumes are paired by case and slice. A run without rows of one output (full supervision has no
    pseudo-masks) or without spacing in every row is left out of those columns.

    Args:
        runs: run directories, each with ``metrics.csv``. A run is called by ``method`` in its ``manifest.json`` if
            there, else by its folder; runs that would share a name show their folder beside it.
        split: which rows to compare.

    Returns:
        The table, for :func:`format_table`.

    Raises:
        FileNotFoundError: a run without ``metrics.csv``.
        ValueError: no run, a run given twice, a split that a run does not have, or runs scored on different cases.

    Example:
        >>> import tempfile
        >>> from camtools.scores.metrics_csv import write_metrics
        >>> row = MetricsRow("test", "prediction", "case_1", None, SegmentationScores(0.8, 0.75, 5.0))
        >>> with tempfile.TemporaryDirectory() as run:
        ...     write_metrics(Path(run, "metrics.csv"), [row])
        ...     table = compare([Path(run)])
        >>> [(result.column.title, *result.cells.values()) for result in table.results if result.cells]
        [('Prediction DSC (%)', (80.0, 0.0)), ('Prediction HD95 (pixels)', (5.0, 0.0))]
    """
    if len(runs) < 1:
        raise ValueError("Expected at least one run directory to compare, found none; give the output_dir of each run.")
    rows = {name: _rows_of_split(run, split) for name, run in named_runs(runs).items()}
    scores = {output: _paired_scores(rows, output, split) for output in OUTPUTS}
    return ComparisonTable(
        split=split,
        volumes={name: len({row.case for row in own}) for name, own in rows.items()},
        results=tuple(_column_result(column, scores[column.output]) for column in COLUMNS),
    )


def format_table(table: ComparisonTable) -> str:
    r"""Write a comparison as a Markdown table, with the p values below it.

    Args:
        table: from :func:`compare`.

    Returns:
        One row per run; ``-`` where a run has no such score; the best of a column bold, with ``\*`` when significant.

    Example:
        >>> dice = ColumnResult(COLUMNS[2], {"umcam": (89.76, 5.09)}, test=None)
        >>> print(format_table(ComparisonTable("test", {"umcam": 25}, (dice,))).splitlines()[2])
        | umcam | 89.76 ± 5.09 | 25 |
    """
    columns = [_cells(result, list(table.volumes)) for result in table.results]
    titles = ["Method", *(result.column.title for result in table.results), "Volumes"]
    lines = [
        markdown_table(titles, list(zip(table.volumes, *columns, table.volumes.values(), strict=True))),
        "",
        f"Split {table.split}: mean ± standard deviation; pseudo-masks per slice in 2D, predictions per volume in 3D.",
    ]
    tested = [f"- {_format_test(result.column, result.test)}" for result in table.results if result.test is not None]
    if tested:
        lines += [
            f"Bold: best, '{UPPER_BOUND}' (the upper bound) apart. "
            "\\*: p < 0.05 against the second best (two-sided Wilcoxon signed-rank test on paired cases):",
            "",
            *tested,
        ]
    return "\n".join(lines)


def _cells(result: ColumnResult, names: Sequence[str]) -> list[str]:
    means = [result.cells[name][0] if name in result.cells else None for name in names]
    deviations = [result.cells[name][1] if name in result.cells else 0.0 for name in names]
    ranked = [is_ranked(name) and name in result.cells for name in names]
    cells = best_in_bold(means, deviations, ranked, result.column.higher_is_better)
    if result.test is not None and result.test.significant:
        cells[list(names).index(result.test.best)] += "\\*"
    return cells


def _format_test(column: Column, test: PairedTest) -> str:
    text = f"{column.title}: {test.best} against {test.second}, {test.pairs} {column.unit}: "
    if test.p_value is None:
        return f"{text}not tested, at least {MIN_PAIRS} pairs are needed"
    if test.p_value < SIGNIFICANCE and not test.significant:
        return f"{text}p = {test.p_value:.2g}, but not in favour of the better mean"
    return f"{text}p = {test.p_value:.2g}"


def named_runs(runs: Sequence[Path]) -> dict[str, Path]:
    """Run directories by the name they are shown under, see :func:`compare`.

    Raises:
        ValueError: a run given twice, or a manifest that cannot be read.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError(f"Expected different runs, found one given twice: {', '.join(map(str, runs))}.")
    methods = [_method(run) for run in runs]
    return {
        method if methods.count(method) == 1 else f"{method} ({run})": run
        for method, run in zip(methods, runs, strict=True)
    }


def _method(run: Path) -> str:
    manifest = run / "manifest.json"
    if not manifest.is_file():
        return run.resolve().name
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8")).get("method") or run.resolve().name)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{manifest}: expected a JSON object, found something else ({error}); run the evaluate stage again."
        ) from error


def is_ranked(name: str) -> bool:
    """Whether a run takes part in the choice of the best: full supervision, which sees masks, does not.

    Example:
        >>> is_ranked("umcam"), is_ranked("full"), is_ranked("full (runs/a)")
        (True, False, False)
    """
    return name.split(" (")[0] != UPPER_BOUND


def _rows_of_split(run: Path, split: str) -> list[MetricsRow]:
    rows = read_metrics(run / "metrics.csv")
    kept = [row for row in rows if row.split == split]
    if not kept:
        present = ", ".join(sorted({row.split for row in rows})) or "none"
        raise ValueError(
            f"{run / 'metrics.csv'}: expected rows of split {split!r}, found the splits: {present}; "
            "choose one of them, or evaluate that split first."
        )
    return kept


def _paired_scores(rows: Mapping[str, Sequence[MetricsRow]], output: str, split: str) -> dict[str, CaseScores]:
    by_run = {name: {row.key: row.scores for row in own if row.output == output} for name, own in rows.items()}
    scores = {name: dict(sorted(own.items())) for name, own in by_run.items() if own}
    every = sorted({key for own in scores.values() for key in own})
    problems = []
    for name, own in scores.items():
        missing = [case if index < 0 else f"{case} slice {index}" for case, index in every if (case, index) not in own]
        if missing:
            more = f" and {len(missing) - NAMED_CASES} more" if len(missing) > NAMED_CASES else ""
            problems.append(f"{name} lacks {', '.join(missing[:NAMED_CASES])}{more}")
    if problems:
        raise ValueError(
            f"Expected the same {output} cases of split {split!r} in every run, found that {'; '.join(problems)}. "
            "Evaluate all runs on the same dataset."
        )
    return dict(scores)


def _column_result(column: Column, scores: Mapping[str, CaseScores]) -> ColumnResult:
    values: dict[str, NDArray[np.float64]] = {}
    for name, own in scores.items():
        found = [getattr(case, column.score) for case in own.values()]
        if None not in found:
            values[name] = column.scale * np.array(found)
    cells = {name: (float(value.mean()), float(value.std())) for name, value in values.items()}
    ranked = {name: value for name, value in values.items() if is_ranked(name)}
    return ColumnResult(column, cells, _test_best(column, ranked) if len(ranked) > 1 else None)


def _test_best(column: Column, values: Mapping[str, NDArray[np.float64]]) -> PairedTest:
    sign = 1.0 if column.higher_is_better else -1.0
    best, second = sorted(values, key=lambda name: -sign * float(values[name].mean()))[:2]
    # Scores are stored with six digits: rounding keeps equal differences equal, so that their ranks tie.
    gain = np.round(sign * (values[best] - values[second]), 6)
    if len(gain) < MIN_PAIRS:
        return PairedTest(best, second, len(gain), None, significant=False)
    if not gain.any():
        return PairedTest(best, second, len(gain), 1.0, significant=False)
    p_value = float(wilcoxon(gain).pvalue)
    favoured = float(wilcoxon(gain, alternative="greater").pvalue) < p_value
    significant = p_value < SIGNIFICANCE and favoured and gain.mean() > 0
    return PairedTest(best, second, len(gain), p_value, significant=bool(significant))
