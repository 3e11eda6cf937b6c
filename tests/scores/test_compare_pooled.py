"""The table of pooled scores: hand-made files, the best in bold, runs without scores, the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.scores.compare_pooled import format_pooled

HEADER = "split,output,images,miou,dice,f1,precision,recall,object_dice,object_f1"
METRICS = "split,output,case,slice,dice,iou,hd95_px,hd95_mm\ntest,prediction,c0,,0.5,0.4,3,\n"


def make_run(folder: Path, lines: list[str] | None, method: str | None = None) -> Path:
    """Run directory with a hand-written pooled_metrics.csv, and a manifest when it has a method."""
    folder.mkdir()
    (folder / "metrics.csv").write_text(METRICS)
    if lines is not None:
        (folder / "pooled_metrics.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    if method is not None:
        (folder / "manifest.json").write_text(json.dumps({"method": method}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    weak = [
        "validation,prediction,9,0.1,0.1,0.1,0.1,0.1,0.1,0.1",
        "test,cam,4,0.67,0.1,0.1,0.1,0.1,0.1,0.1",
        "test,pseudo_mask,4,0.7004,0.1,0.1,0.1,0.1,0.1,0.1",
        "test,prediction,4,0.7564,0.8613,0.8236,0.1,0.1,0.71,0.62",
    ]
    strong = [
        "test,cam,4,0.67,0.1,0.1,0.1,0.1,0.1,0.1",
        "test,pseudo_mask,4,0.69,0.1,0.1,0.1,0.1,0.1,0.1",
        "test,prediction,4,0.7756,0.8736,0.8735,0.1,0.1,0.73,0.61",
    ]
    full = ["test,prediction,4,0.8684,0.9296,0.9324,0.1,0.1,0.9,0.9"]
    return [
        make_run(tmp_path / "a", weak, "none"),
        make_run(tmp_path / "b", strong, "oeem"),
        make_run(tmp_path / "c", full, "full"),
    ]


def table(text: str | None) -> list[list[str]]:
    assert text is not None
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_best_of_each_column_is_bold_but_never_full(runs: list[Path]) -> None:
    text = format_pooled(runs)
    assert table(text) == [
        [
            "Method",
            "CAM mIoU",
            "Pseudo-mask mIoU",
            "Prediction mIoU",
            "Dice",
            "F1",
            "Object Dice",
            "Object F1",
            "Images",
        ],
        ["---"] * 9,
        ["none", "**67.00**", "**70.04**", "75.64", "86.13", "82.36", "71.00", "**62.00**", "4"],
        ["oeem", "**67.00**", "69.00", "**77.56**", "**87.36**", "**87.35**", "**73.00**", "61.00", "4"],
        ["full", "-", "-", "86.84", "92.96", "93.24", "90.00", "90.00", "4"],
    ]
    assert text is not None
    assert text.splitlines()[-1].endswith("as in the GlaS challenge. Bold: best, 'full' (the upper bound) apart.")


def test_one_ranked_run_has_no_best(runs: list[Path]) -> None:
    text = format_pooled(runs[1:])
    assert text is not None
    assert "*" not in text
    assert "Bold" not in text


def test_another_split(runs: list[Path]) -> None:
    text = format_pooled(runs, "validation")
    assert table(text)[2:] == [
        ["none", "-", "-", "10.00", "10.00", "10.00", "10.00", "10.00", "9"],
        ["oeem", *["-"] * 8],
        ["full", *["-"] * 8],
    ]
    assert text is not None
    assert "Split validation, in %" in text


def test_runs_without_pooled_scores(runs: list[Path], tmp_path: Path) -> None:
    bare = make_run(tmp_path / "bare", None)
    assert format_pooled([bare]) is None
    assert format_pooled(runs, "holdout") is None
    assert table(format_pooled([bare, *runs[:2]]))[2] == ["bare", *["-"] * 8]


def test_masks_without_numbers_have_no_object_columns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a|b", ["test,prediction,80,0.5,0.6,0.7,0.8,0.9,,"])
    text = format_pooled([run])
    assert text is not None
    assert text.splitlines()[2] == r"| a\|b | - | - | 50.00 | 60.00 | 70.00 | - | - | 80 |"


def test_a_run_given_twice(runs: list[Path]) -> None:
    with pytest.raises(ValueError, match="Expected different runs, found one given twice"):
        format_pooled([runs[0], runs[0]])


def test_the_command_prints_both_tables(runs: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", *map(str, runs)])
    assert result.exit_code == 0, result.output
    assert result.output.index("Prediction DSC (%)") < result.output.index("Pseudo-mask mIoU")
    bare = make_run(tmp_path / "bare", None)
    output = CliRunner().invoke(app, ["compare", str(bare)]).output
    assert "| bare |" in output
    assert "mIoU" not in output
