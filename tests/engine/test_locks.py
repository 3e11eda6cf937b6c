"""Two runs at once: real processes that want the same folders."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from camtools.data.files import write_json
from camtools.engine.locks import LOCK_NAME, FolderInUseError, FolderLock
from camtools.engine.run_locks import RunLocks, export_lock


class Work:
    """Writes its value; waits before for the file ``go`` beside the configuration where there is ``wait``."""

    def __init__(self, value: int, folder: str, root: str, export: str | None = None) -> None:
        self.value, self.folder, self.root, self.export = value, Path(folder), Path(root), export

    def run(self) -> None:
        with export_lock(self.export):
            (self.root / f"started-{self.value}").touch()
            while (self.root / f"wait-{self.value}").exists():
                time.sleep(0.02)
            write_json(self.value, self.folder / "value.json")
            if self.export:
                write_json(self.value, self.export)


class Later(Work):
    """The second step reads what the first wrote."""

    def run(self) -> None:
        before = json.loads((self.root / os.environ["SHARED"] / "value.json").read_text())
        write_json([before, self.value], self.folder / "later.json")


CONFIG = """
imports: ["$import camtools.engine"]
root: null
output_dir: null
shared: "$@output_dir + '/first'"
value: 0
export: null
run: ["@first", "@second"]
first: {_target_: camtools.engine.run_stage, name: first, build: work, output_dir: "@output_dir", folder: "@shared"}
second:
  _target_: camtools.engine.run_stage
  name: second
  build: later
  output_dir: "@output_dir"
  folder: "$@output_dir + '/second'"
  after: [first]
work: {_target_: tests.engine.test_locks.Work, value: "@value", folder: "@shared", root: "@root", export: "@export"}
later: {_target_: tests.engine.test_locks.Later, value: "@value", folder: "$@output_dir + '/second'", root: "@root"}
"""


def run(root: Path, value: int, output: str = "out", shared: str | None = None, **other: Any) -> None:
    (root / "config.yaml").write_text(CONFIG)
    os.environ["SHARED"] = shared or f"{output}/first"
    places = {"root": str(root), "output_dir": str(root / output)} | ({"shared": str(root / shared)} if shared else {})
    monai.bundle.run(config_file=str(root / "config.yaml"), logging_file=False, value=value, **places, **other)


def start(function: Callable[[], object], log: Path) -> int:
    """Call a function in another process."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
    code = 1
    try:
        function()
        code = 0
    except SystemExit as error:
        code = int(str(error.code))
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def end(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists():
            return
        time.sleep(0.02)
    raise TimeoutError(path)


def working(root: Path, value: int, **options: Any) -> int:
    """A run that is in the middle of its first stage."""
    (root / f"wait-{value}").touch()
    pid = start(lambda: run(root, value, **options), root / f"log-{value}")
    wait_for(root / f"started-{value}")
    return pid


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def refused(root: Path, value: int, **options: Any) -> str:
    """Message of a run that is refused."""
    with pytest.raises(RuntimeError) as caught:
        run(root, value, **options)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, FolderInUseError):
        error = error.__cause__
    assert error is not None
    return str(error)


@pytest.mark.parametrize("again", [1, 2], ids=["same setting", "other setting"])
def test_second_run_in_a_folder_is_refused_and_the_first_ends_well(tmp_path: Path, again: int) -> None:
    first = working(tmp_path, 1)
    message = refused(tmp_path, again)
    assert f"Expected {tmp_path / 'out'} to be free, found another run in it: process {first} on" in message
    assert socket.gethostname() in message
    assert sys.argv[0].split("/")[-1] in message
    assert "Wait until it ends, or choose another folder (--output_dir DIR)" in message
    (tmp_path / "wait-1").unlink()
    assert end(first) == 0
    assert content(tmp_path / "out/second/later.json") == [1, 1]
    run(tmp_path, 2)
    assert content(tmp_path / "out/second/later.json") == [2, 2]
    assert content(tmp_path / "out/first.old-1/value.json") == 1
    assert {record["status"] for record in content(tmp_path / "out/manifest.json")["stages"].values()} == {"done"}
    assert not list(tmp_path.rglob(LOCK_NAME))


def test_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    first = working(tmp_path, 1)
    os.kill(first, signal.SIGKILL)
    assert end(first) == -signal.SIGKILL
    (tmp_path / "wait-1").unlink()
    run(tmp_path, 1)
    assert content(tmp_path / "out/second/later.json") == [1, 1]
    assert not (tmp_path / "out/first.old-1").exists()
    assert not list(tmp_path.rglob(LOCK_NAME))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_that_is_asked_to_end_cleans_up_and_goes_on_later(tmp_path: Path, number: signal.Signals) -> None:
    first = working(tmp_path, 1)
    os.kill(first, number)
    assert end(first) == (1 if number == signal.SIGINT else 128 + number)
    assert content(tmp_path / "out/manifest.json")["stages"]["first"]["status"] == "running"
    assert not list(tmp_path.rglob(LOCK_NAME))
    (tmp_path / "wait-1").unlink()
    run(tmp_path, 1)
    assert content(tmp_path / "out/second/later.json") == [1, 1]
    assert not (tmp_path / "out/first.old-1").exists()


def test_shared_folder_is_read_by_many_and_written_by_one(tmp_path: Path) -> None:
    first = working(tmp_path, 1, output="a", shared="shared")
    message = refused(tmp_path, 1, output="b", shared="shared")
    assert f"Expected {tmp_path / 'shared'} to be free, found another run in it: process {first} on" in message
    assert "(the folder of first)" in message
    (tmp_path / "wait-1").unlink()
    assert end(first) == 0
    with RunLocks() as reader:  # a run that reads the finished folder
        reader.share(tmp_path / "shared", "x")
        run(tmp_path, 1, output="b", shared="shared")
        assert f"this process ({os.getpid()})" in refused(tmp_path, 2, output="c", shared="shared")
    assert content(tmp_path / "b/second/later.json") == [1, 1]
    run(tmp_path, 2, output="c", shared="shared")
    assert content(tmp_path / "c/second/later.json") == [2, 2]


def test_step_is_refused_whose_shared_input_was_made_anew_by_another_run(tmp_path: Path) -> None:
    run(tmp_path, 1, output="a", shared="shared")
    run(tmp_path, 2, output="b", shared="shared")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, 1, output="a", shared="shared", run_id="second")
    found = (
        r"second: expected the files of the stage 'first' that .*a/manifest.json records, found files of another run"
    )
    with pytest.raises(RuntimeError, match=found):
        raise caught.value.__cause__ or caught.value
    run(tmp_path, 1, output="a", shared="shared")
    assert content(tmp_path / "a/second/later.json") == [1, 1]


def test_moved_run_is_still_finished(tmp_path: Path) -> None:
    run(tmp_path, 1)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    run(tmp_path, 1, output="elsewhere", run_id="second")
    assert content(tmp_path / "elsewhere/second/later.json") == [1, 1]
    assert not (tmp_path / "out").exists()


def test_two_trainings_do_not_export_to_one_folder(tmp_path: Path) -> None:
    first = working(tmp_path, 1, output="a", export=str(tmp_path / "models/model.pt"))
    message = refused(tmp_path, 2, output="b", export=str(tmp_path / "models/model.pt"))
    assert f"Expected {tmp_path / 'models'} to be free" in message
    assert "(--export_dir DIR)" in message
    (tmp_path / "wait-1").unlink()
    assert end(first) == 0
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model.pt"]
    assert content(tmp_path / "models/model.pt") == 1


def test_forked_child_that_outlives_its_parent_does_not_hold_its_lock(tmp_path: Path) -> None:
    def hold_and_fork() -> None:
        RunLocks().hold(tmp_path / "out", "x")
        child = os.fork()
        if not child:
            wait_for(tmp_path / "end")
            os._exit(0)
        (tmp_path / "forked").touch()
        time.sleep(60)

    parent = start(hold_and_fork, tmp_path / "log")
    wait_for(tmp_path / "forked")
    with pytest.raises(FolderInUseError, match=f"process {parent} on"):
        RunLocks().hold(tmp_path / "out", "x")
    os.kill(parent, signal.SIGKILL)
    end(parent)
    with RunLocks() as locks:
        locks.hold(tmp_path / "out", "x")
    (tmp_path / "end").touch()


def test_failed_run_whose_traceback_is_kept_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "out/second").mkdir(parents=True)
    (tmp_path / "out/second/notes.txt").write_text("a user's")
    with pytest.raises(RuntimeError) as kept:
        run(tmp_path, 1)
    error = kept.value.__cause__ or kept.value
    with pytest.raises(ValueError, match=r"to be new, empty or from an earlier run, found 1 entries .* 'notes.txt'"):
        raise error
    with RunLocks() as locks:
        locks.hold(tmp_path / "out", "x")
    (tmp_path / "out/second/notes.txt").unlink()
    run(tmp_path, 1)


def test_file_system_without_locks_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(handle: int, kind: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with caplog.at_level(logging.WARNING):
        lock = FolderLock(tmp_path, "x")
        lock.acquire(shared=False)
        lock.release()
    assert f"{tmp_path} cannot be locked (Function not implemented). Do not use it in another run." in caplog.text


def test_note_of_a_lock_that_cannot_be_read_is_no_obstacle(tmp_path: Path) -> None:
    with RunLocks() as locks:
        locks.hold(tmp_path, "x")
        (tmp_path / LOCK_NAME).write_text('garbage\n[1]\n{"pid": 1}\n')
        with pytest.raises(FolderInUseError, match="found another run in it: an unknown process"):
            RunLocks().hold(tmp_path, "x")
