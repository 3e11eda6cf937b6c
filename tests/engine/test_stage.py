"""Stages: skipped, resumed, moved aside, recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from camtools.engine.manifest import Manifest, digest, digest_unread

CALLS: list[str] = []


class Writer:
    """Writes its text into its folder; fails on demand."""

    def __init__(self, folder: str, text: str, fail: bool = False) -> None:
        self.folder, self.text, self.fail = Path(folder), text, fail
        CALLS.append("built")

    def run(self) -> None:
        CALLS.append("run")
        if self.fail:
            raise KeyboardInterrupt
        (self.folder / "out.txt").write_text(self.text)


def run(output: Path, text: str = "a", stage: str = "first", **kwargs: Any) -> list[str]:
    config = {
        "output_dir": str(output),
        "seed": 0,
        "method": "m",
        "text": text,
        "writer": {"_target_": "tests.engine.test_stage.Writer", "folder": str(output / stage), "text": "@text"},
        "stage": {
            "_target_": "camtools.engine.run_stage",
            "name": stage,
            "build": "writer",
            "output_dir": "@output_dir",
        }
        | {key: value for key, value in kwargs.items() if key != "fail"},
    }
    if kwargs.get("fail"):
        config["writer"]["fail"] = "$True"  # type: ignore[index]
    CALLS.clear()
    try:
        ConfigParser(config).get_parsed_content("stage")
    except RuntimeError as error:  # MONAI wraps what a component raises
        raise error.__cause__ or error from None
    return list(CALLS)


def record(output: Path, stage: str = "first") -> dict[str, Any]:
    return dict(json.loads((output / "manifest.json").read_text())["stages"][stage])


def test_finished_stage_is_skipped_and_not_even_built(tmp_path: Path) -> None:
    assert run(tmp_path) == ["built", "run"]
    assert record(tmp_path)["status"] == "done"
    assert record(tmp_path)["outputs"] == {"out.txt": 1}
    assert run(tmp_path) == []


def test_changed_configuration_moves_the_old_files_aside(tmp_path: Path) -> None:
    run(tmp_path, "a")
    assert run(tmp_path, "b") == ["built", "run"]
    assert run(tmp_path, "c") == ["built", "run"]
    assert (tmp_path / "first/out.txt").read_text() == "c"
    assert (tmp_path / "first.old-1/out.txt").read_text() == "a"
    assert (tmp_path / "first.old-2/out.txt").read_text() == "b"


def test_missing_or_changed_output_runs_again(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "first/out.txt").unlink()
    assert run(tmp_path) == ["built", "run"]
    assert not (tmp_path / "first.old-1").exists()


def test_killed_stage_goes_on_in_its_folder(tmp_path: Path) -> None:
    config_fails: dict[str, Any] = {"fail": True}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **config_fails)
    assert record(tmp_path)["status"] == "running"
    (tmp_path / "first/part.txt").write_text("half")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **config_fails)
    assert (tmp_path / "first/part.txt").is_file()


def test_changed_input_moves_aside_but_changed_item_does_not(tmp_path: Path) -> None:
    file = tmp_path / "input.txt"
    for key, aside in (("inputs", True), ("items", False)):
        output = tmp_path / key
        file.write_text("one")
        run(output, **{key: [str(file)]})
        assert run(output, **{key: [str(file)]}) == []
        file.write_text("two and more")
        assert run(output, **{key: [str(file)]}) == ["built", "run"]
        assert (output / "first.old-1").exists() is aside


def test_stage_waits_for_the_one_before_and_changes_with_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="second: expected the stage 'first' to be finished, found no finished one"):
        run(tmp_path, stage="second", after=["first"])
    run(tmp_path, "a")
    run(tmp_path, "x", stage="second", after=["first"])
    assert run(tmp_path, "x", stage="second", after=["first"]) == []
    run(tmp_path, "b")
    assert run(tmp_path, "x", stage="second", after=["first"]) == ["built", "run"]


def test_manifest_says_what_ran(tmp_path: Path) -> None:
    run(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["method"] == "m"
    assert content["seed"] == 0
    assert content["config"]["text"] == "a"
    assert set(content["versions"]) >= {"torch", "monai"}


def test_file_hashes_follow_content(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    manifest = Manifest(tmp_path)
    item = {"image": str(file), "case": "a"}
    first = manifest.hash_inputs([item])
    assert manifest.hash_inputs([item]) == first
    assert manifest.hash_inputs([item | {"slice_labels": [1]}]) != first
    file.write_bytes(b"longer")
    assert manifest.hash_inputs([item]) != first
    with pytest.raises(FileNotFoundError, match=r"Expected the file .*gone, found none"):
        manifest.hash_inputs([tmp_path / "gone"])
    assert digest([1]) != digest([2])


def test_items_are_not_read_to_see_that_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    monkeypatch.setattr("camtools.engine.manifest.file_hash", lambda path: pytest.fail(f"{path} was read"))
    item: dict[str, Any] = {"image": str(file), "label": str(file), "slice_labels": [0, 1]}
    first = digest_unread([item])
    assert digest_unread([item]) == first
    assert digest_unread([item | {"slice_labels": [1, 1]}]) != first
    assert digest_unread([item | {"case": "b"}]) != first
    assert digest_unread([item, item]) != first
    os.utime(file, ns=(0, 0))
    assert digest_unread([item]) != first
    assert run(tmp_path, items=[item]) == ["built", "run"]
    assert json.loads((tmp_path / "manifest.json").read_text())["files"] == {}
    with pytest.raises(FileNotFoundError, match=r"Expected the file .*gone, found none. Run the step that writes it"):
        digest_unread([item | {"label": str(tmp_path / "gone")}])


def test_what_killed_processes_began_to_write_is_removed(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "first/out.txt").unlink()
    (tmp_path / "first/.part-123-out.txt").write_text("half")
    run(tmp_path)
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["out.txt", "stage-first.json"]


DAMAGED = [
    "",
    "{",
    "\0" * 40,
    "[]",
    "3",
    "null",
    '{"stages": 3}',
    '{"stages": {"first": []}, "files": []}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:12] or "empty")
def test_damaged_manifest_is_made_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path)
    before = record(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert run(tmp_path, "x", stage="second", after=["first"]) == ["built", "run"]
    assert f"{tmp_path / 'manifest.json'} is damaged" in caplog.text
    assert record(tmp_path) == before
    assert run(tmp_path) == []


@pytest.mark.parametrize(
    "text", [*DAMAGED, '{"fingerprint": "a", "status": "done", "outputs": 3}'], ids=lambda text: text[:12]
)
def test_damaged_record_is_taken_from_the_manifest(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path)
    path = tmp_path / "first/stage-first.json"
    path.write_text(text)
    assert run(tmp_path) == []
    assert f"{path} is damaged" in caplog.text
    assert json.loads(path.read_text())["outputs"] == {"out.txt": 1}
    path.write_text(text)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"Expected .*first, the folder of 'first', .* without stage-first.json"):
        (path.unlink(), run(tmp_path))


def test_record_of_another_run_is_not_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(self: Writer) -> None:
        path = self.folder / "stage-first.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "another"}))

    monkeypatch.setattr(Writer, "run", replace)
    with pytest.raises(
        RuntimeError, match=r"first: expected the record of this run, found another one in .*stage-first.json"
    ):
        run(tmp_path)
    assert record(tmp_path)["status"] == "running"
