"""``camtools tune``, end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from tests.cam_classifiers import TRAIN, overrides, save_weights
from tests.conftest import write_dataset

FEW = ["--methods", "gradcam", "--maps", "1", "--finalists", "1", "--sample", "3", "--evidence-slices", "2"]


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tune", TRAIN, *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("option", ["--output-dir", "--output_dir"])
def test_command_chooses_and_writes(tmp_path: Path, option: str) -> None:
    data = write_dataset(tmp_path / "data", {"training": 1, "validation": 3})
    pairs = overrides(data, save_weights(tmp_path / "c"))
    views = ["--mirrored", "--scales", "1.0,1.25"]
    code, output = invoke(option, str(tmp_path / "tuned"), *FEW, *views, "--refinements", "geodesic", *pairs)
    assert code == 0, output
    assert "**(chosen)**" in output
    assert "Cross-validation over patients (3 folds)" in output
    content = json.loads((tmp_path / "tuned/choice.json").read_text())
    assert content["method"] == "gradcam"
    assert content["mirrored"]
    assert content["scales"] == [1.0, 1.25]
    with (tmp_path / "tuned/tuning.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {row["refinement"] for row in rows} == {"none", "geodesic"}
    assert {row["slices"] for row in rows if row["finalist"] == "1"} == {"6"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--methods", "magic"], "Error: methods: expected some of cam, gradcam, "),
        (["--refinements", "snake"], "Error: refinements: expected crf, geodesic or none, found snake."),
        (["--scales", "1;2"], "Error: scales: expected numbers separated by commas, found '1;2'"),
        (["--scales", "-1"], "Error: scales: expected one or more positive numbers, found [-1.0]"),
        (["--folds", "1"], "Error: folds: expected 2 or more, found 1."),
        (["--split", "training"], "Error: Expected options or ids of the configuration, found --split"),
        (["--classifier_dir", "nowhere"], "Error: Expected the trained classifier at nowhere/model.pt"),
        (["--patient", "x(y"], "Error: Expected a regular expression for the patient, found 'x(y'"),
        (["--target", "2", "--evidence-slices", "0"], "Error: expected target in 0..1 for a model with 2 logits"),
    ],
)
def test_command_names_what_is_wrong(blob_dataset: Path, tmp_path: Path, extra: list[str], message: str) -> None:
    pairs = overrides(blob_dataset, save_weights(tmp_path / "c"))
    code, output = invoke("--output-dir", str(tmp_path / "tuned"), *pairs, *extra)
    assert code == 1
    assert message in output
    assert not (tmp_path / "tuned").exists()
