from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from camtools.data.errors import DataError, reason
from camtools.engine.config import active_parser, find_bundle_root, referenced_config, show_root_cause


def test_component_finds_its_parser() -> None:
    parser = ConfigParser(
        {"imports": ["$import camtools.engine.config"], "a": {"_target_": "camtools.engine.config.active_parser"}}
    )
    assert parser.get_parsed_content("a") is parser


def test_no_parser_outside_a_bundle() -> None:
    with pytest.raises(RuntimeError, match="Expected a call from a configuration that MONAI evaluates, found none"):
        active_parser()


def test_references_are_followed_to_the_end_and_places_are_left_out() -> None:
    parser = ConfigParser(
        {
            "stage": {"trainer": {"net": "@net", "epochs": "$@epochs * 2", "to": "@output_dir"}, "other": 1},
            "net": {"width": "@width"},
            "width": 3,
            "epochs": 4,
            "output_dir": "/somewhere",
            "unused": 5,
        }
    )
    assert set(referenced_config(parser, "stage#trainer")) == {"stage::trainer", "net", "width", "epochs"}


def make_bundle(folder: Path) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/metadata.json").write_text("{}")
    lines = [
        'imports: ["$import camtools", "$import camtools.engine"]',
        'bundle_root: "$camtools.engine.find_bundle_root()"',
        'run: "@bundle_root"',
    ]
    (folder / "configs/train.yaml").write_text("\n".join(lines))
    return folder


def test_bundle_root_follows_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    for file in ("bundle/configs/train.yaml", str(bundle / "configs/train.yaml")):
        workflow = ConfigWorkflow(config_file=file, workflow_type=None)
        workflow.initialize()
        assert workflow.run() == [str(bundle)]


def test_bundle_root_is_the_working_directory_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_bundle(tmp_path / "bundle"))
    assert find_bundle_root() == str(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"found no configs/metadata.json there. Run from .* --bundle_root PATH"
    ):
        find_bundle_root()


def test_uncaught_error_ends_with_its_cause(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    show_root_cause()
    show_root_cause()
    wrapped = RuntimeError("Failed to evaluate ConfigExpression")
    wrapped.__cause__ = DataError("scan.nii is empty. Copy it again.")
    sys.excepthook(RuntimeError, wrapped, None)
    lines = capsys.readouterr().err.rstrip().splitlines()
    assert lines[-1] == "Error: scan.nii is empty. Copy it again."
    assert sum("scan.nii" in line for line in lines[-2:]) == 1
    assert reason(KeyError("gone")) == "KeyError: 'gone'"


class Unreadable(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise DataError("scan.nii is empty. Copy it again.")


def test_error_of_a_loader_worker_is_its_message() -> None:
    with pytest.raises(DataError) as failure:
        list(torch.utils.data.DataLoader(Unreadable(), num_workers=1))
    assert reason(failure.value) == "scan.nii is empty. Copy it again."


def test_own_words_win_over_the_error_they_come_from() -> None:
    with pytest.raises(ValueError, match="expected rule") as failure:
        split_by_words("7")
    wrapped = RuntimeError("Failed to instantiate component")
    wrapped.__cause__ = failure.value
    assert reason(wrapped) == str(failure.value)


def split_by_words(text: str) -> None:
    """An error that camtools raises as ValueError, from another."""
    from camtools.thresholds import check_rule

    try:
        float("no number")
    except ValueError as error:
        try:
            check_rule(text)  # type: ignore[arg-type]
        except ValueError as own:
            raise own from error
