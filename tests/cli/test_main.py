from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from camtools.metrics import SegmentationScores
from camtools.scores.metrics_csv import MetricsRow, write_metrics
from tests.bundles.conftest import UMCAM
from tests.conftest import write_dataset


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_phantom_writes_a_dataset_and_refuses_to_overwrite_it(tmp_path: Path) -> None:
    arguments = ("phantom", "--kind", "fetal_brain", "--out", str(tmp_path / "data"), "--n", "3", "--seed", "1")
    assert invoke(*arguments)[0] == 0
    content = json.loads((tmp_path / "data/dataset.json").read_text())
    assert [len(content[split]) for split in ("training", "validation", "test")] == [1, 1, 1]
    code, output = invoke(*arguments)
    assert code == 1
    assert "Error: Expected" in output
    assert "found 3 entries" in output


def test_every_command_tunes_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr("camtools.cli.main.prepare_process", lambda: calls.append(True))
    invoke("report", str(tmp_path))
    assert calls == [True]


def test_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    code, output = invoke("phantom", "--kind", "unicorn", "--out", str(tmp_path / "x"))
    assert code == 1
    assert "Expected a kind of phantom (fetal_brain, gland, tumour), found 'unicorn'" in output


def write_run(folder: Path, dice: float) -> str:
    scores = SegmentationScores(dice, dice / 2, 3.0, 4.0)
    folder.mkdir()
    write_metrics(folder / "metrics.csv", [MetricsRow("test", "prediction", f"c{k}", None, scores) for k in range(3)])
    return str(folder)


def test_compare_prints_the_table(tmp_path: Path) -> None:
    code, output = invoke("compare", write_run(tmp_path / "weak", 0.5), write_run(tmp_path / "strong", 0.75))
    assert code == 0
    assert "| weak |" in output
    assert "**75.00" in output
    code, output = invoke("compare", str(tmp_path / "weak"), "--split", "holdout")
    assert code == 1
    assert "Error: " in output


def test_compare_names_a_network_that_finds_nothing(tmp_path: Path) -> None:
    code, output = invoke("compare", write_run(tmp_path / "weak", 0.0), write_run(tmp_path / "strong", 0.75))
    assert code == 0
    warning = "Warning: the predictions of weak find nothing: their mean Dice is 0.0 % over the 3 test volumes"
    assert " ".join(output.split()).count(warning) == 1
    assert "predictions of strong" not in output


def test_report_of_a_folder(tmp_path: Path) -> None:
    code, output = invoke("report", write_run(tmp_path / "run", 0.5))
    assert code == 0
    assert (tmp_path / "run/report.html").is_file()
    assert invoke("report", str(tmp_path / "gone"))[0] == 1
    assert "Wrote" in output


def test_ablate_runs_the_methods_and_prints_both_splits(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", {"training": 1, "validation": 1, "test": 1})
    overrides = {**UMCAM.tiny, "dataset_dir": dataset, "export_dir": tmp_path / "models", "pixel_size": "null"}
    pairs = [part for key, value in overrides.items() for part in (f"--{key}", str(value))]
    train = str(UMCAM.configs / "train.yaml")
    output_dir = str(tmp_path / "runs")
    code, output = invoke("ablate", train, "--output-dir", output_dir, "--methods", "gradcam,umcam+spl", *pairs)
    assert code == 0, output
    assert output.index("validation") < output.index("gradcam")
    assert output.count("umcam+spl") >= 2
    assert (tmp_path / "runs/umcam+spl/report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "magic"), "found 'magic'. Choose one of these."),
        (("--methods", "umcam", "--seed"), "Expected pairs of --id value"),
    ],
)
def test_ablate_names_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, output = invoke("ablate", str(UMCAM.configs / "train.yaml"), "--output-dir", str(tmp_path), *arguments)
    assert code == 1
    assert message in output
