"""The commands train and predict: what they print is what runs, and it gives what the bundle gives."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtools.cli import app
from tests.bundles.conftest import REPOSITORY, UMCAM, infer
from tests.conftest import write_dataset

BUNDLES = ("--bundles", str(REPOSITORY / "bundles"))
# written by hand for a person who reads the test: knobs as on a command line
TINY = ("--image_size", "[32, 32]", "--width", "0.0625", "--features", "[4, 4, 8, 8, 8, 4]", "--pixel_size", "0.8")
SHORT = ("--classifier_epochs", "1", "--segmenter_epochs", "1", "--device", "cpu")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have taken the place of this process."""
    commands: list[list[str]] = []

    def record(program: str, command: list[str]) -> None:
        assert program == command[0] == sys.executable
        commands.append(command[1:])

    monkeypatch.setattr(os, "execv", record)
    return commands


def invoke(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def camtools(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``camtools`` in a process of its own, as a shell starts it."""
    command = [sys.executable, "-c", "from camtools.cli import app; app()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data`` with a dataset and ``run`` with one tiny training, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("work")
    write_dataset(folder / "data", {"training": 2, "validation": 1, "test": 1})
    done = camtools("train", "umcam", folder / "data", "--output-dir", folder / "run", *BUNDLES, *TINY, *SHORT)
    assert done.returncode == 0, done.stderr
    return folder


def test_train_prints_the_command_that_runs(started: list[list[str]], tmp_path: Path) -> None:
    data = tmp_path / "my data"
    write_dataset(data, {"training": 1})
    code, output = invoke(
        "train", "umcam", data, "--output-dir", "runs/a", "--preset", "small", *BUNDLES, "--seed", "3"
    )
    assert code == 0
    (line,) = output.splitlines()
    files = str(UMCAM.files("train.yaml", "small.yaml"))
    assert f"--config_file \"{files}\" --dataset_dir '{data}'" in line
    command = ["-m", "monai.bundle", "run", "run", "--config_file", files, "--dataset_dir", str(data)]
    command += ["--output_dir", "runs/a", "--export_dir", "runs/a/models", "--seed", "3"]
    assert shlex.split(line) == ["python", *command]
    assert started == [command]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("umcam", "empty"),
            "Expected dataset.json in empty, found none. Write it by tagging the volumes: camtools",
        ),
        (("umcam", "gone"), "Expected a folder with dataset.json, found no folder at gone."),
        (
            ("unicorn", "data"),
            "(auto, cfdcam, ltgradcam, oeem, umcam), or the folder of one that has configs/train.yaml",
        ),
        (("unicorn", "data"), "found 'unicorn'. Write it first"),
        (("umcam", "data", "--preset", "huge"), "--preset: expected small or paper, found 'huge'."),
        (("umcam", "data", "--seed"), "Expected pairs of --id value"),
        (("umcam", "data", "--export_dir", "x"), "found --export_dir, which this command sets itself."),
        (("umcam", "--seed", "1"), "Expected the folders before the knobs, found --seed. Write it at the end."),
    ],
)
def test_train_names_what_is_wrong(
    arguments: tuple[str, ...],
    message: str,
    started: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "data", {"training": 1})
    code, output = invoke("train", *arguments, "--output-dir", "run", *BUNDLES)
    assert (code, started) == (1, [])
    assert output.startswith("Error: ")
    assert message in output


def test_an_unknown_knob_is_refused_as_the_bundle_refuses_it(work: Path, tmp_path: Path) -> None:
    done = camtools("train", "umcam", work / "data", "--output-dir", tmp_path / "run", *BUNDLES, "--withd", "1")
    assert done.returncode == 1
    assert "has no 'withd' and nothing refers to it; did you mean width?" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert not (tmp_path / "run").exists()


def test_training_stays_in_its_folder_and_the_same_command_resumes(work: Path) -> None:
    assert (work / "run/report.html").is_file()
    assert {path.name for path in (work / "run/models").glob("*.pt")} == {"classifier.pt", "model.pt"}
    before = (work / "run/models/model.pt").stat().st_mtime_ns
    done = camtools("train", "umcam", work / "data", "--output-dir", work / "run", *BUNDLES, *TINY, *SHORT)
    assert done.returncode == 0
    assert "segment: nothing changed since it finished, skipped" in done.stdout
    assert (work / "run/models/model.pt").stat().st_mtime_ns == before


def test_predict_runs_the_bundle_of_the_training(work: Path, tmp_path: Path) -> None:
    image = work / "data/images/case_3.nii.gz"
    done = camtools("predict", work / "run", image, "--output-dir", tmp_path / "out", *BUNDLES, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[0]
    own = work / "run/bundle/configs/inference.yaml"
    assert line.endswith(f"run run --config_file {own} --dataset_dir {image} --output_dir {tmp_path}/out --device cpu")
    # by hand: with the knobs of the shared tests
    expected = infer(UMCAM, work / "data", tmp_path / "by_hand", work / "run/models", pixel_size=0.8)
    masks = [path.read_bytes() for path in expected.rglob("*.nii.gz")]
    assert masks == [path.read_bytes() for path in (tmp_path / "out/predictions").rglob("*.nii.gz")]
    assert len(masks) == 1


def test_train_takes_a_bundle_anywhere(work: Path, tmp_path: Path, started: list[list[str]]) -> None:
    mailed = shutil.copytree(work / "run/bundle", tmp_path / "mailed")
    code, _ = invoke("train", mailed, work / "data", "--output-dir", "further", "--bundles", tmp_path / "none")
    assert code == 0
    assert started[0][4:6] == ["--config_file", str(mailed / "configs/train.yaml")]
    code, output = invoke("train", mailed, work / "data", "--output-dir", "further", "--preset", "small")
    assert code == 1
    assert "--preset: expected no preset, as this bundle has none, found 'small'." in output


def test_predict_takes_a_bundle_anywhere(work: Path, tmp_path: Path, started: list[list[str]]) -> None:
    shutil.copytree(work / "run/bundle", tmp_path / "mailed")
    code, _ = invoke("predict", tmp_path / "mailed", work / "data", "--output-dir", "out", "--bundles", tmp_path)
    assert code == 0
    assert started[0][4:6] == ["--config_file", str(tmp_path / "mailed/configs/inference.yaml")]


def test_predict_refuses_another_knob_than_in_training(work: Path, tmp_path: Path) -> None:
    knob = ("--pixel_size", "2.0")
    done = camtools("predict", work / "run", work / "data", "--output-dir", tmp_path / "out", *BUNDLES, *knob)
    assert done.returncode == 1
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "was trained, found pixel_size 2.0 instead of 0.8. Add --pixel_size 0.8, or run the bundle" in message


def test_predict_passes_the_knobs_of_a_run_without_a_bundle(
    work: Path, started: list[list[str]], tmp_path: Path
) -> None:
    old = shutil.copytree(work / "run", tmp_path / "old", ignore=shutil.ignore_patterns("bundle"))
    own = ("--checkpoint", "own.pt", "--width", "0.5")
    code, output = invoke("predict", old, work / "data", "--output-dir", "out", *BUNDLES, *own)
    assert code == 0
    assert output.startswith("Note: --width 0.5 replaces 0.0625 of the training.\n")
    assert "--pixel_size 0.8 --features '[4, 4, 8, 8, 8, 4]' --checkpoint own.pt --width 0.5" in output
    assert started[0].count("--width") == started[0].count("--checkpoint") == 1
    assert started[0][-4:] == list(own)


def test_predict_names_a_folder_without_a_training(tmp_path: Path, started: list[list[str]]) -> None:
    code, output = invoke("predict", tmp_path, tmp_path, "--output-dir", "out", *BUNDLES)
    assert (code, started) == (1, [])
    assert "Error: Expected the folder of a training, found no manifest.json" in output
