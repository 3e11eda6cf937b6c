"""Overrides of a bundle, as the command line and programs give them (camtools.engine.overrides and knobs)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from camtools.data.errors import DataError, reason
from camtools.engine.knobs import ALSO_TEXT, TEXT_IDS, knob_value
from camtools.engine.overrides import command_line_texts

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = sorted(BUNDLES.glob("*/configs/train.yaml")) + sorted(BUNDLES.glob("*/configs/inference.yaml"))
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")


def knobs(config: Path) -> dict[str, Any]:
    """Top-level values that are no sections: what a user sets on the command line."""
    content = ConfigParser.load_config_file(config)
    sections = {"imports", "initialize", "run", "finalize"}
    return {name: value for name, value in content.items() if name not in sections and not isinstance(value, dict)}


def from_command_line(monkeypatch: pytest.MonkeyPatch, config: Path, *arguments: str, run_id: str = "run") -> Any:
    """The configuration as python-fire and MONAI hand it to the bundle, read by the bundle."""
    command = [run_id, "--config_file", str(config), *arguments]
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *command])
    workflows = []

    def start(run_id: str, config_file: str, **override: Any) -> None:
        workflows.append(monai.bundle.create_workflow(config_file=config_file, run_id=run_id, **override))

    fire.Fire(start, command=command)
    return workflows[0].parser


@EVERY_CONFIG
def test_every_default_as_text_is_the_value_of_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = knobs(config)
    arguments = []
    for name, value in defaults.items():
        text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).strip()
        arguments += [f"--{name}", text.removesuffix("...").strip()]
    parser = from_command_line(monkeypatch, config, *arguments)
    assert {name: parser[name] for name in defaults} == defaults


@EVERY_CONFIG
def test_every_truth_value_is_switched_by_any_spelling(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, value in knobs(config).items() if isinstance(value, bool)]
    assert "amp" in names
    for texts, expected in ((("false", "False", "no", "0"), False), (("true", "True", "yes", "1"), True)):
        for text in texts:
            arguments = [part for name in names for part in (f"--{name}", text)]
            parser = from_command_line(monkeypatch, config, *arguments)
            assert {name: parser[name] for name in names} == dict.fromkeys(names, expected), text


@EVERY_CONFIG
@pytest.mark.parametrize("text", ["null", "None", "~"])
def test_every_knob_can_be_null(config: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in knobs(config) if name not in ("bundle_root", "output_dir")]
    arguments = [part for name in names for part in (f"--{name}", text)]
    truth_values = {name for name, value in knobs(config).items() if isinstance(value, bool)}
    parser = from_command_line(monkeypatch, config, *arguments)
    assert {name: parser[name] for name in names} == dict.fromkeys(names)
    assert truth_values <= set(names)


@EVERY_CONFIG
def test_every_number_refuses_words_and_takes_every_spelling(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in knobs(config).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or name in ALSO_TEXT:
            continue
        assert knob_value(name, "2", value) == 2
        assert knob_value(name, "1e1", value) == 10
        with pytest.raises(DataError, match=f"--{name}: expected a number such as .*, found 'much'"):
            knob_value(name, "much", value)


@pytest.mark.parametrize("text", ["2024", "007", "1e5", "2024-01-05", "true", "1.0", "a, b", "x: y"])
@pytest.mark.parametrize("name", sorted(TEXT_IDS - {"bundle_root", "shard_dir"}))
def test_a_path_is_text_whatever_it_looks_like(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = next(path for path in CONFIGS if name in knobs(path))
    assert from_command_line(monkeypatch, config, f"--{name}", text)[name] == text
    assert from_command_line(monkeypatch, config, f"--{name}={text}")[name] == text


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        (["--image_size", "[64, 48]"], "image_size", [64, 48]),
        (["--image_size", "64,48"], "image_size", [64, 48]),
        (["--image_size", "(64, 48)"], "image_size", [64, 48]),
        (["--image-size=[64,48]"], "image_size", [64, 48]),
        (["--pixel_size", "1e-1"], "pixel_size", 0.1),
        (["--pixel_size", "$1 / 4"], "pixel_size", "$1 / 4"),
        (["--pixel_size", "@alpha"], "pixel_size", "@alpha"),
        (["--seed_threshold", "auto"], "seed_threshold", "auto"),
        (["--classifier_rate", "1e-3"], "classifier_rate", 0.001),
        (["--norm", "batch"], "norm", "batch"),
        (["--training_stride", "32"], "training_stride", 32),
        (["--amp"], "amp", True),
        (["--train#trainer#max_epochs", "3"], "train#trainer#max_epochs", 3),
        (["--train::trainer::max_epochs", "3"], "train#trainer#max_epochs", 3),
        (["--train#loss#lam", "null"], "train#loss#lam", None),
        (["--method", "full"], "method", "full"),
        (["--classifier_epochs", "3.0"], "classifier_epochs", 3),
        (["--train#optimizer#nesterov", "true"], "train#optimizer#nesterov", True),
    ],
)
def test_spellings(arguments: list[str], name: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = from_command_line(monkeypatch, BUNDLES / "umcam/configs/train.yaml", *arguments)[name]
    assert (type(found), found) == (type(expected), expected)


def message_of(call: Any) -> str:
    with pytest.raises(RuntimeError) as failure:
        call()
    return reason(failure.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pixelsize", "2"], "--pixelsize: .* nothing refers to it; did you mean pixel_size"),
        (["--largest_componet", "true"], "has no 'largest_componet' .* expected one of"),
        (["--train#trainer#max_epoch", "2"], "--train#trainer#max_epoch: .* did you mean max_epochs"),
        (["--train#optimiser", "2"], "--train#optimiser: .* did you mean optimizer"),
        (["--classifier#kind#widht", "0.5"], "--classifier#kind#widht: .* did you mean width"),
        (["--amp", "maybe"], "--amp: expected true or false, found 'maybe'. Correct it on the command line"),
        (["--image_size", "64"], r"--image_size: expected a list such as \[96, 96\], found 64"),
        (["--width", "wide"], "--width: expected a number such as 0.25, found 'wide'"),
    ],
)
def test_what_means_nothing_is_named(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = message_of(lambda: from_command_line(monkeypatch, BUNDLES / "umcam/configs/train.yaml", *arguments))
    assert re.search(message, found), found


def test_unknown_run_names_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    config = BUNDLES / "umcam/configs/train.yaml"
    found = message_of(lambda: from_command_line(monkeypatch, config, run_id="clasify"))
    assert "has no 'clasify'" in found
    assert "did you mean classify" in found


def test_a_program_is_read_the_same_way(tmp_path: Path) -> None:
    config = str(BUNDLES / "umcam/configs/inference.yaml")
    given = {"gate": False, "pixel_size": None, "dataset_dir": tmp_path, "largest_component": "false", "width": "1"}
    parser = monai.bundle.create_workflow(config_file=config, **given).parser
    expected = {"gate": False, "pixel_size": None, "dataset_dir": str(tmp_path), "largest_component": False, "width": 1}
    assert {name: parser[name] for name in expected} == expected


def test_arguments_and_overlays_in_files_count_as_well(tmp_path: Path) -> None:
    config = str(BUNDLES / "umcam/configs/train.yaml")
    (tmp_path / "args.yaml").write_text("pixelsize: 2\n")
    found = message_of(lambda: monai.bundle.create_workflow(config_file=config, args_file=str(tmp_path / "args.yaml")))
    assert "--pixelsize" in found
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("helper: 0.5\nwidth: '@helper'\n")
    parser = monai.bundle.create_workflow(config_file=[config, str(overlay)]).parser
    assert parser.get_parsed_content("width") == 0.5


def test_a_workflow_made_by_hand_refuses_unknown_ids() -> None:
    workflow = ConfigWorkflow(config_file=str(BUNDLES / "umcam/configs/train.yaml"), workflow_type="train", pixelsize=2)
    assert "did you mean pixel_size" in message_of(workflow.initialize)


def test_command_line_texts_keep_the_last_of_a_repeated_option() -> None:
    arguments = ["run", "--a", "1", "--a=2", "--b", "-1", "--c", "-x", "--d"]
    assert command_line_texts(arguments) == {"a": "2", "b": "-1"}
