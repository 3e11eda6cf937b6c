"""``benchmarks/gpu_check.py``, the script that shows what a GPU does, as far as a CPU can run it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_check

    yield gpu_check
    for name in set(sys.modules) - before:
        if name.startswith("gpu_check"):
            del sys.modules[name]


def table(folder: Path) -> dict[str, list[dict[str, str]]]:
    return json.loads((folder / "gpu_check.json").read_text())


def test_a_check_on_the_cpu(gpu_check: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    assert gpu_check.main(["--device", "cpu", "--only", "geodesic", "--output-dir", str(tmp_path)]) == 0
    rows = table(tmp_path)["rows"]
    assert {row["check"] for row in rows} == {"geodesic"}
    assert "geodesic distance, triton, exact: difference from the CPU" in [row["what"] for row in rows]
    differences = [row["value"] for row in rows if "difference" in row["what"]]
    assert len(differences) >= 4
    assert max(differences) < 1e-4
    assert set(table(tmp_path)["header"]) >= {"GPU", "driver", "torch", "date"}
    assert "| geodesic | geodesic distance, torch, exact |" in (tmp_path / "gpu_check.md").read_text()


def test_a_check_that_raises_is_a_row(gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        broken = gpu_check.Check("gpu_check_bundles", "paper_rows", 60, (name,))
        monkeypatch.setitem(gpu_check.CHECKS, name, broken)
    arguments = ["--device", "cpu", "--only", "first", "second", "--output-dir", str(tmp_path)]
    assert gpu_check.main(arguments) == 1
    found = [(row["check"], row["result"], row["reason"]) for row in table(tmp_path)["rows"]]
    assert found == [("first", "fail", "KeyError: 'first'"), ("second", "fail", "KeyError: 'second'")]
    assert "Traceback" in (tmp_path / "first/errors.log").read_text()


def test_a_check_that_takes_too_long_is_a_row(gpu_check: ModuleType, tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--only", "geodesic", "--minutes", "0.02", "--output-dir", str(tmp_path)]
    assert gpu_check.main(arguments) == 1
    (row,) = table(tmp_path)["rows"]
    assert row["reason"] == "stopped after 1 s"


def test_checks_without_time_left_are_skipped(gpu_check: ModuleType, tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--only", "crf", "maps", "--minutes", "0.01", "--output-dir", str(tmp_path)]
    assert gpu_check.main(arguments) == 0
    assert [row["reason"] for row in table(tmp_path)["rows"]] == ["0.01 minutes were over"] * 2


def test_needs_a_gpu_unless_told(
    gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main([])
    assert "Expected a CUDA device, found none. Add --device cpu" in capsys.readouterr().err


def test_limits(gpu_check: ModuleType) -> None:
    from gpu_check_table import at_least, at_most, measured

    assert [at_most("x", value, "", 1).result for value in (1.0, 1.1, float("nan"))] == ["pass", "fail", "fail"]
    assert [at_least("x", value, "", 1).result for value in (1.0, 0.9, float("nan"))] == ["pass", "fail", "fail"]
    assert measured("x", float("inf"), "ms").reason == "expected a finite number, found inf"
    assert at_most("x", 2.0, "", 1).reason == "above the limit"
    assert at_least("x", 0.5, "", 1).reason == "below the limit"


def test_the_file_is_whole_after_every_row(gpu_check: ModuleType, tmp_path: Path) -> None:
    from gpu_check_table import Table, failed, measured, skipped

    rows = Table(tmp_path / "new", {"GPU": "none"})
    for row in (measured("a | b", 1234.5, "ms"), skipped("c", "not installed"), failed("d", "one\ntwo")):
        rows.add(row)
        assert len(table(tmp_path / "new")["rows"]) == len(rows.rows)
    lines = (tmp_path / "new/gpu_check.md").read_text().splitlines()
    assert lines[-3:] == [
        "|  | a / b | 1234 | ms |  | pass |",
        "|  | c |  |  |  | skipped: not installed |",
        "|  | d |  |  |  | fail: one two |",
    ]
    assert not rows.passed
