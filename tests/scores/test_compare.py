"""The table that compares runs: hand-made files, hand-computed figures, scipy's p values, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy.stats import wilcoxon

from camtools.scores.compare import compare, format_table

HEADER = "split,output,case,slice,dice,iou,hd95_px,hd95_mm"
UMCAM = [0.90, 0.80, 0.85, 0.95, 0.70, 0.88]
# Below UMCAM in every case, by six different amounts: the two-sided p is 2 / 2**6.
CAM = [0.89, 0.78, 0.82, 0.91, 0.65, 0.82]


def make_run(folder: Path, lines: Sequence[str], method: object = None) -> Path:
    """Run directory with a hand-written metrics.csv, and a manifest when it has a method."""
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    if method is not None:
        (folder / "manifest.json").write_text(json.dumps({"method": method}))
    return folder


def volumes(dice: Sequence[float], px: Sequence[float] | None = None, mm: Sequence[float] | None = None) -> list[str]:
    """Lines of predictions of the test split, cases c0, c1, ..."""
    px = px or [4.0] * len(dice)
    mm_text = [""] * len(dice) if mm is None else [str(value) for value in mm]
    rows = zip(dice, px, mm_text, strict=True)
    return [f"test,prediction,c{case},,{d},0.5,{p},{m}" for case, (d, p, m) in enumerate(rows)]


def slices(dice: Sequence[float], px: Sequence[float]) -> list[str]:
    """Lines of pseudo-masks of the test split: two slices a case."""
    rows = enumerate(zip(dice, px, strict=True))
    return [f"test,pseudo_mask,c{index // 2},{index % 2},{d},0.5,{p}," for index, (d, p) in rows]


def cells(text: str, row: int) -> list[str]:
    """Cells of a data row of a Markdown table."""
    return [cell.strip() for cell in text.splitlines()[2 + row].strip("|").split(" | ")]


def test_one_run_hand_computed(tmp_path: Path) -> None:
    lines = slices([0.5, 0.7, 0.9, 0.7], [10.0, 20.0, 30.0, 20.0]) + volumes([0.8, 0.9], [3.0, 5.0], [1.0, 2.0])
    text = format_table(compare([make_run(tmp_path / "umcam", lines)]))
    assert text.splitlines()[0] == (
        "| Method | Pseudo-mask DSC (%) | Pseudo-mask HD95 (pixels) | Prediction DSC (%) | Prediction HD95 (pixels) "
        "| Prediction HD95 (mm) | Volumes |"
    )
    # Deviations -20, 0, 20, 0: variance 200; -10, 0, 10, 0: variance 50.
    assert cells(text, 0) == [
        "umcam",
        "70.00 ± 14.14",
        "20.00 ± 7.07",
        "85.00 ± 5.00",
        "4.00 ± 1.00",
        "1.50 ± 0.50",
        "2",
    ]
    assert "Bold" not in text


def test_best_is_bold_and_starred_with_the_p_values_below(tmp_path: Path) -> None:
    cam = make_run(tmp_path / "a", volumes(CAM, px=[3.0] * 6), method="grad-cam")
    umcam = make_run(tmp_path / "b", volumes(UMCAM, px=[4.0] * 5 + [2.0]), method="um-cam")
    table = compare([cam, umcam])
    text = format_table(table)
    assert cells(text, 0)[0] == "grad-cam"
    # Percentages: sums 487 and 508, sums of squares 39959 and 43394, over six cases.
    assert cells(text, 0)[3] == "81.17 ± 8.47"
    assert cells(text, 1)[3] == r"**84.67 ± 7.99**\*"
    p_dice = wilcoxon([a - b for a, b in zip(UMCAM, CAM, strict=True)]).pvalue
    assert p_dice == pytest.approx(2 / 2**6)
    dice_test, distance_test = table.results[2].test, table.results[3].test
    assert dice_test is not None
    assert (dice_test.best, dice_test.second, dice_test.pairs) == ("um-cam", "grad-cam", 6)
    assert dice_test.p_value == pytest.approx(p_dice)
    # Lower is better for distances: 3 beats 22 / 6, but one case in six disagrees.
    assert cells(text, 0)[4] == "**3.00 ± 0.00**"
    assert cells(text, 1)[4] == "3.67 ± 0.75"
    assert distance_test is not None
    assert distance_test.p_value == pytest.approx(wilcoxon([1, 1, 1, 1, 1, -1]).pvalue)
    lines = text.splitlines()
    assert "- Prediction DSC (%): um-cam against grad-cam, 6 volumes: p = 0.031" in lines
    assert f"- Prediction HD95 (pixels): grad-cam against um-cam, 6 volumes: p = {distance_test.p_value:.2g}" in lines
    assert lines[6:8] == [
        r"Bold: best, 'full' (the upper bound) apart. "
        r"\*: p < 0.05 against the second best (two-sided Wilcoxon signed-rank test on paired cases):",
        "",
    ]


def test_the_test_is_against_the_second_best_of_many(tmp_path: Path) -> None:
    worst = make_run(tmp_path / "worst", volumes([0.1] * 6))
    best = make_run(tmp_path / "best", volumes(UMCAM))
    second = make_run(tmp_path / "second", volumes([value - 0.001 for value in UMCAM]))
    result = compare([worst, best, second]).results[2].test
    assert result is not None
    assert (result.best, result.second) == ("best", "second")
    # Six equal gains tie in rank, whatever their last binary digit.
    assert result.p_value == pytest.approx(wilcoxon([0.1] * 6).pvalue)


def test_full_supervision_is_shown_but_not_ranked(tmp_path: Path) -> None:
    full = make_run(tmp_path / "c", volumes([0.99] * 6), method="full")
    runs = [make_run(tmp_path / "a", volumes(UMCAM)), make_run(tmp_path / "b", volumes(CAM)), full]
    text = format_table(compare(runs))
    assert cells(text, 2)[3] == "99.00 ± 0.00"
    assert cells(text, 0)[3].startswith("**")
    assert "Prediction DSC (%): a against b, 6 volumes: p = 0.031" in text


def test_rows_are_paired_by_case_and_slice_not_by_line(tmp_path: Path) -> None:
    dice, lower = UMCAM, CAM
    first = make_run(tmp_path / "first", slices(dice, [5.0] * 6))
    second = make_run(tmp_path / "second", slices(lower, [5.0] * 6)[::-1])
    result = compare([first, second]).results[0].test
    assert result is not None
    assert result.p_value == pytest.approx(2 / 2**6)
    assert "first against second, 6 slices: p = 0.031" in format_table(compare([first, second]))


def test_fewer_than_six_pairs_are_not_tested(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, volumes(dice[:5])) for name, dice in (("umcam", UMCAM), ("cam", CAM))]
    text = format_table(compare(runs))
    assert cells(text, 0)[3].startswith("**")
    assert not cells(text, 0)[3].endswith("*\\*")
    assert "- Prediction DSC (%): umcam against cam, 5 volumes: not tested, at least 6 pairs are needed" in text


def test_equal_runs_are_both_bold_without_a_star(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, volumes(UMCAM)) for name in ("a", "b")]
    text = format_table(compare(runs))
    assert cells(text, 0)[3] == cells(text, 1)[3] == "**84.67 ± 7.99**"
    assert "a against b, 6 volumes: p = 1" in text


def test_no_star_when_the_ranks_contradict_the_means(tmp_path: Path) -> None:
    # The first run is a little worse in 14 cases of 15 and far better in one that the second missed.
    second = [0.90 + index / 1000 for index in range(14)] + [0.0]
    first = [value - 0.001 * (1 + index) for index, value in enumerate(second[:14])] + [0.9]
    runs = [make_run(tmp_path / "first", volumes(first)), make_run(tmp_path / "second", volumes(second))]
    result = compare(runs).results[2].test
    assert result is not None
    assert result.best == "first"
    assert result.p_value == pytest.approx(wilcoxon([-rank for rank in range(1, 15)] + [900]).pvalue)
    assert result.p_value is not None
    assert result.p_value < 0.05
    assert not result.significant
    text = format_table(compare(runs))
    assert re.fullmatch(r"\*\*[0-9. ±]+\*\*", cells(text, 0)[3])
    assert "but not in favour of the better mean" in text


def test_a_run_without_an_output_or_spacing_shows_a_dash(tmp_path: Path) -> None:
    both = make_run(tmp_path / "weak", slices([0.5] * 4, [9.0] * 4) + volumes([0.8, 0.9], [3.0, 5.0], [1.0, 2.0]))
    supervised = make_run(tmp_path / "blind", [*volumes([0.9], mm=[1.0]), "test,prediction,c1,,0.9,0.8,2,"])
    text = format_table(compare([both, supervised]))
    assert cells(text, 1) == ["blind", "-", "-", "**90.00 ± 0.00**", "**3.00 ± 1.00**", "-", "2"]
    assert cells(text, 0)[1:3] == ["50.00 ± 0.00", "9.00 ± 0.00"]
    assert cells(text, 0)[5] == "1.50 ± 0.50"


def test_only_the_split_asked_for_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "umcam", [*volumes([0.8]), "validation,prediction,v0,,0.4,0.3,9,"])
    assert cells(format_table(compare([run])), 0)[3] == "80.00 ± 0.00"
    text = format_table(compare([run], split="validation"))
    assert cells(text, 0)[3] == "40.00 ± 0.00"
    assert "Split validation:" in text


def test_names_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (make_run(tmp_path / name, volumes([0.8]), method="umcam") for name in ("one", "two"))
    other = make_run(tmp_path / "three", volumes([0.8]), method="a|b")
    (make_run(tmp_path / "four", volumes([0.8])) / "manifest.json").write_text('{"method": null}')
    table = compare([first, second, other, tmp_path / "four"])
    assert list(table.volumes) == [f"umcam ({first})", f"umcam ({second})", "a|b", "four"]
    assert r"| a\|b |" in format_table(table)
    monkeypatch.chdir(tmp_path / "four")
    assert list(compare([Path()]).volumes) == ["four"]


@pytest.mark.parametrize("text", ["[1, 2]", "{"])
def test_broken_manifest(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run", volumes([0.8]))
    (run / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json: expected a JSON object, found something else \(.*\); run"):
        compare([run])


def test_no_run_and_the_same_run_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected at least one run directory to compare, found none; give the output"):
        compare([])
    run = make_run(tmp_path / "run", volumes([0.8]))
    with pytest.raises(ValueError, match="Expected different runs, found one given twice"):
        compare([run, tmp_path / "other" / ".." / "run"])


def test_missing_metrics_name_the_stage_and_the_command(tmp_path: Path) -> None:
    command = (
        rf"python -m monai\.bundle run --config_file bundles/<method>/configs/evaluate\.yaml --output_dir {tmp_path}"
    )
    with pytest.raises(FileNotFoundError, match=rf"No metrics\.csv in {tmp_path}: the evaluate stage .* {command}"):
        compare([tmp_path])


def test_unknown_split_lists_those_present(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*volumes([0.8]), "validation,prediction,v0,,0.4,0.3,9,"])
    with pytest.raises(ValueError, match="expected rows of split 'train', found the splits: test, validation; choose"):
        compare([run], split="train")
    empty = make_run(tmp_path / "empty", [])
    with pytest.raises(ValueError, match="expected rows of split 'test', found the splits: none"):
        compare([empty])


def test_different_cases_are_named(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", volumes([0.8, 0.9]))
    second = make_run(tmp_path / "second", [*volumes([0.8]), "test,prediction,extra,,0.4,0.3,9,"])
    message = (
        "same prediction cases of split 'test' in every run, found that first lacks extra; second lacks c1. Evaluate"
    )
    with pytest.raises(ValueError, match=message):
        compare([first, second])
    many = make_run(tmp_path / "many", slices([0.5] * 14, [1.0] * 14))
    few = make_run(tmp_path / "few", slices([0.5] * 2, [1.0] * 2))
    with pytest.raises(
        ValueError, match=r"same pseudo_mask cases .* few lacks c1 slice 0, c1 slice 1, .* and 2 more\."
    ):
        compare([many, few])
