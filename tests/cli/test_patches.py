"""The command ``camtools patches``; its module is camtools.cli.patches."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from camtools.cli import app
from camtools.data import PatchTagger, load_datalist
from camtools.patches import PatchGrid
from camtools.transforms import PrepareVolumed
from tests.bundles.files import write_photographs

RUNNER = CliRunner()


def run(*arguments: str) -> str:
    result = RUNNER.invoke(app, ["patches", *arguments])
    return " ".join((result.output + (result.stderr or "")).split())


def test_table_from_masks_trains_as_the_masks_do(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=True)
    options = ("--patch-size", "16", "--patch-stride", "8", "--derive")
    output = run(str(data), "--out", str(data / "tags.csv"), *options, "--crops", str(tmp_path / "crops"))
    assert "Wrote 120 patches of 6 images" in output
    assert len(list((tmp_path / "crops").rglob("*.png"))) == 120
    items = load_datalist(data, "training")
    content = json.loads((data / "dataset.json").read_text())
    for item in content["training"]:
        item["patch_labels"] = "tags.csv"
        del item["label"]
    (data / "dataset.json").write_text(json.dumps(content))
    tagger = PatchTagger(PrepareVolumed(), PatchGrid(16, 8))
    for given, masked in zip(load_datalist(data, "training"), items, strict=True):
        assert "label" not in given
        assert tagger(given).tolist() == tagger(masked).tolist()


def test_table_to_fill_in(tmp_path: Path) -> None:
    data = write_photographs(tmp_path / "data", colour=False)
    output = run(str(data), "--out", str(tmp_path / "t.csv"), "--split", "test", "--patch-size", "40")
    assert "stride of at least 1 and at most the patch size" in output
    output = run(str(data), "--out", str(tmp_path / "t.csv"), "--split", "test")
    assert "Wrote 2 patches of 2 images" in output
    assert "Fill in the column classes" in output
    assert (tmp_path / "t.csv").read_text().splitlines()[1].endswith("test_0.png,0,0,0,")
    assert "to be a new file, found an existing one" in run(str(data), "--out", str(tmp_path / "t.csv"))
