"""The metrics file of a run: what is written is read back, atomically, and bad rows are named."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from camtools.metrics import SegmentationScores
from camtools.scores.metrics_csv import MetricsRow, read_metrics, write_metrics

HEADER = "split,output,case,slice,dice,iou,hd95_px,hd95_mm"
LINE = "test,prediction,c0,,0.9,0.8,4,"
ROWS = [
    MetricsRow("validation", "pseudo_mask", "brain, left", 7, SegmentationScores(0.8, 0.666667, 5.0, 2.5)),
    MetricsRow("validation", "pseudo_mask", "brain, left", 8, SegmentationScores(0.0, 0.0, 362.039, None)),
    MetricsRow("test", "prediction", "brain, left", None, SegmentationScores(1.0, 1.0, 0.0, 0.0)),
]


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", ROWS)
    assert read_metrics(tmp_path / "metrics.csv") == ROWS
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_the_file_is_plain_csv(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", iter(ROWS))
    assert (tmp_path / "metrics.csv").read_bytes().decode().split("\n") == [
        HEADER,
        'validation,pseudo_mask,"brain, left",7,0.8,0.666667,5,2.5',
        'validation,pseudo_mask,"brain, left",8,0,0,362.039,',
        'test,prediction,"brain, left",,1,1,0,0',
        "",
    ]


def test_no_rows_give_a_file_with_columns_only(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [])
    assert (tmp_path / "metrics.csv").read_text() == HEADER + "\n"
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metrics(tmp_path / "metrics.csv", ROWS)

    def fail(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_metrics(tmp_path / "metrics.csv", ROWS[:1])
    assert os.listdir(tmp_path) == ["metrics.csv"]
    assert read_metrics(tmp_path / "metrics.csv") == ROWS


def test_rows_check_themselves() -> None:
    good = SegmentationScores(0.8, 0.7, 5.0, 2.5)
    with pytest.raises(ValueError, match="output: expected one of pseudo_mask, prediction, found 'mask'"):
        MetricsRow("test", "mask", "c0", None, good)
    for output, index in (("pseudo_mask", None), ("pseudo_mask", -1), ("prediction", 3)):
        with pytest.raises(ValueError, match=f"slice: expected an index >= 0 .* found {index} for a {output}"):
            MetricsRow("test", output, "c0", index, good)
    with pytest.raises(ValueError, match=r"dice: expected a finite number from 0 to 1, found 80\.0"):
        MetricsRow("test", "prediction", "c0", None, SegmentationScores(80.0, 0.7, 5.0))
    with pytest.raises(ValueError, match="hd95_px: expected a finite number from 0 to inf, found nan"):
        MetricsRow("test", "prediction", "c0", None, SegmentationScores(0.8, 0.7, math.nan))
    with pytest.raises(ValueError, match="hd95_mm: expected a finite number from 0 to inf, found inf"):
        MetricsRow("test", "prediction", "c0", None, SegmentationScores(0.8, 0.7, 5.0, math.inf))


def test_duplicate_rows_are_refused_both_ways(tmp_path: Path) -> None:
    message = "expected one pseudo_mask row for brain, left slice 7 in split validation, found 2; give every volume"
    with pytest.raises(ValueError, match=message):
        write_metrics(tmp_path / "metrics.csv", [*ROWS, ROWS[0]])
    assert os.listdir(tmp_path) == []
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join([HEADER, LINE, LINE, ""]))
    with pytest.raises(ValueError, match="expected one prediction row for c0 in split test, found 2"):
        read_metrics(path)


def test_unreadable_files_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join([HEADER, LINE, "test,prediction,c1,,high,0.5,4,", ""]))
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3: cannot read 'test,prediction,c1,,high,0\.5,4,'"):
        read_metrics(path)
    path.write_text(HEADER + "\ntest,prediction\n")
    with pytest.raises(ValueError, match=r"line 2: cannot read 'test,prediction': .* Run the evaluate stage again"):
        read_metrics(path)
    path.write_text("case,dice\nc0,0.9\n")
    with pytest.raises(ValueError, match=f"expected the columns {HEADER}, found case,dice; run the evaluate stage"):
        read_metrics(path)
    path.write_text("")
    with pytest.raises(ValueError, match="found an empty file"):
        read_metrics(path)
