"""The folder of a MONAI Label app and its command (camtools.label.folder, camtools.engine.write_knobs)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from typer.testing import CliRunner

from camtools.cli import app
from camtools.cli.common import overrides
from camtools.data import DataError
from camtools.label import prepare_app, trained_bundles
from camtools.networks.weight_settings import with_settings


def write_bundle(folder: Path, trained: bool = True) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/inference.yaml").write_text("a: 1\nc:\n  a: 1\n")
    (folder / "configs/train.yaml").write_text('a: "x # y"   # a comment\nb: 1\n')
    (folder / "output").mkdir()
    (folder / "output/large.bin").write_bytes(b"0")
    (folder / "models").mkdir()
    if trained:
        (folder / "models/model.pt").write_bytes(b"weights")
    return folder


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundles/one")
    write_bundle(tmp_path / "bundles/two")
    write_bundle(tmp_path / "bundles/untrained", trained=False)
    return tmp_path / "bundles"


def test_trained_bundles(bundles: Path) -> None:
    assert trained_bundles(bundles) == [bundles / "one", bundles / "two"]
    assert trained_bundles(bundles, ["two"]) == [bundles / "two"]


def test_unknown_bundle_lists_the_known(bundles: Path) -> None:
    with pytest.raises(ValueError, match=r"names of bundles in .*bundles \(one, two, untrained\), found 'three'"):
        trained_bundles(bundles, ["one", "three"])


def test_untrained_bundle_says_how_to_train(bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.pt of .*untrained, found none\. Train first: python -m monai"):
        trained_bundles(bundles, ["one", "untrained"])
    with pytest.raises(FileNotFoundError, match=r"model\.pt of a bundle in .*nowhere, found none"):
        trained_bundles(tmp_path / "nowhere")


def test_app_holds_copies_without_outputs(bundles: Path, tmp_path: Path) -> None:
    folder = prepare_app(trained_bundles(bundles), tmp_path / "app")
    assert (folder / "model/one/models/model.pt").read_bytes() == b"weights"
    assert not (folder / "model/one/output").exists()
    assert "camtools.label.app" in (folder / "main.py").read_text()


def test_copy_that_was_trained_is_kept(bundles: Path, tmp_path: Path) -> None:
    folder = prepare_app([bundles / "one"], tmp_path / "app")
    (folder / "model/one/models/model.pt").write_bytes(b"from labels")
    prepare_app(trained_bundles(bundles), tmp_path / "app")
    assert (folder / "model/one/models/model.pt").read_bytes() == b"from labels"
    assert (folder / "model/two/models/model.pt").read_bytes() == b"weights"


def test_weights_of_other_settings_stop_the_start(bundles: Path, tmp_path: Path) -> None:
    text = "checkpoint: model.pt\npixel_size: 1.0\nnetwork_def: {_target_: torch.nn.Identity}\n"
    (bundles / "one/configs/inference.yaml").write_text(text)
    settings = {"bundle": None, "knobs": {"pixel_size": 1.0}, "others": {}}
    torch.save(with_settings({}, settings), bundles / "one/models/model.pt")
    prepare_app([bundles / "one"], tmp_path / "app")
    message = r"one/models/model\.pt was trained, found pixel_size 2\.0 instead of 1\.0\. Add --pixel_size 1\.0"
    with pytest.raises(DataError, match=message):
        prepare_app([bundles / "one"], tmp_path / "app", {"pixel_size": 2.0})
    prepare_app([bundles / "one"], tmp_path / "app", {"pixel_size": 1.0})


def test_knobs_are_written_into_the_copies_at_every_start(bundles: Path, tmp_path: Path) -> None:
    chosen = trained_bundles(bundles)
    for value in ([1.5, "a # b \\d"], None, 0.25):
        folder = prepare_app(chosen, tmp_path / "app", {"a": value, "b": "x"})
        for name in ("one", "two"):
            written = yaml.safe_load((folder / f"model/{name}/configs/inference.yaml").read_text())
            assert written == {"a": value, "c": {"a": 1}}
            written = yaml.safe_load((folder / f"model/{name}/configs/train.yaml").read_text())
            assert written == {"a": value, "b": "x"}
    assert "# a comment" in (folder / "model/one/configs/train.yaml").read_text()
    assert yaml.safe_load((bundles / "one/configs/inference.yaml").read_text())["a"] == 1


def test_unknown_knob_is_named(bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected knobs of one, found --wdith"):
        prepare_app([bundles / "one"], tmp_path / "app", {"a": 2, "wdith": 1})


@pytest.mark.parametrize("arguments", [["width", "1"], ["--width"]])
def test_overrides_come_in_pairs(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="Expected pairs of --id value after the options, found"):
        overrides(arguments)


def test_studies_must_exist(bundles: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["label", "--studies", str(tmp_path / "gone"), "--bundles", str(bundles)])
    assert result.exit_code == 1
    assert "Expected a folder of volumes, found none at" in result.output


def test_without_monai_label_the_extra_is_named(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monailabel", None)
    monkeypatch.setitem(sys.modules, "monailabel.main", None)
    arguments = ["--studies", str(tmp_path), "--bundles", str(bundles), "--app", str(tmp_path / "app")]
    result = CliRunner().invoke(app, ["label", *arguments])
    assert result.exit_code == 1
    assert "camtools label needs MONAI Label: pip install 'camtools[label]'" in result.output
    assert not (tmp_path / "app").exists()


def test_command_starts_monai_label_on_loopback(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    main = ModuleType("monailabel.main")
    main.Main = lambda: SimpleNamespace(run=lambda: started.append(sys.argv))
    monkeypatch.setitem(sys.modules, "monailabel", ModuleType("monailabel"))
    monkeypatch.setitem(sys.modules, "monailabel.main", main)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.delenv("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", raising=False)
    archive = "http://127.0.0.1:8042/dicom-web"
    arguments = ["--studies", archive, "--bundles", str(bundles), "--app", str(tmp_path / "app"), "--a", "7"]
    monkeypatch.setattr("camtools.cli.label._check_port", lambda host, port: None)
    arguments += ["--modality", "CT", "--allow-origin", "http://localhost:3000/"]
    arguments += ["--allow-origin", "https://Viewer.example:443"]
    result = CliRunner().invoke(app, ["label", *arguments])
    assert result.exit_code == 0, result.output
    assert "Serving one,two at http://127.0.0.1:8000" in result.output
    places = ["--app", str(tmp_path / "app"), "--studies", archive, "--host", "127.0.0.1", "--port", "8000"]
    assert yaml.safe_load((tmp_path / "app/model/two/configs/inference.yaml").read_text())["a"] == 7
    places += ["--conf", "models", "one,two", "--conf", "host", "127.0.0.1"]
    places += ["--conf", "allow_origins", "http://localhost:3000 https://viewer.example"]
    assert started == [["monailabel", "start_server", *places, "--uvicorn_app", "camtools.label.server:app"]]
    assert os.environ.pop("MONAI_LABEL_DICOMWEB_SEARCH_FILTER") == '{"Modality": "CT"}'


def test_a_pattern_of_origins_is_refused(bundles: Path, tmp_path: Path) -> None:
    arguments = ["--studies", str(tmp_path), "--bundles", str(bundles), "--allow-origin", "*"]
    result = CliRunner().invoke(app, ["label", *arguments])
    assert result.exit_code == 1
    assert "--allow-origin: expected an address such as https://viewer.example:3000, found '*'" in result.output


def test_port_in_use_is_named(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monailabel", ModuleType("monailabel"))
    main = ModuleType("monailabel.main")
    main.Main = None
    monkeypatch.setitem(sys.modules, "monailabel.main", main)
    monkeypatch.setenv("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", "{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--studies", str(tmp_path), "--bundles", str(bundles), "--port", port]
        result = CliRunner().invoke(app, ["label", *arguments])
    assert result.exit_code == 1
    assert f"Expected a free port, found 127.0.0.1:{port} in use or not available" in result.output
    assert "Choose another --port." in result.output


def test_other_commands_do_not_need_monai_label() -> None:
    code = "import sys; sys.modules['monailabel'] = None; import camtools.label, camtools.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
