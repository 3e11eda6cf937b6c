"""Files on real disks: cut power, full disks, paths that cannot be, and what killed processes leave."""

from __future__ import annotations

import errno
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from camtools.data import files, storage
from camtools.data.files import atomic_folder, atomic_path, atomic_save, save_like, write_json
from camtools.data.partials import is_partial, names_a_dead_writer, partial_path, remove_partial_files
from camtools.data.storage import StorageError
from camtools.metrics import SegmentationScores
from camtools.scores.metrics_csv import MetricsRow, write_metrics

NOISE = np.random.RandomState(0).randint(0, 255, (300, 300, 3)).astype(np.uint8)


def save_weights(path: Path) -> None:
    atomic_save({"weight": torch.zeros(300, 300)}, path)


def save_volume(path: Path) -> None:
    reference = path.with_name("reference.png")
    save_like(NOISE[..., :1].astype(np.float32) * np.random.rand(300, 300, 1), np.eye(4), reference, path, "x")


def save_numbers(path: Path) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, values=np.random.rand(200, 200))


def save_text(path: Path) -> None:
    write_json(["x" * 100] * 2000, path)


def save_table(path: Path) -> None:
    row = (MetricsRow("test", "prediction", f"case_{n}", None, SegmentationScores(0.8, 0.7, 5.0)) for n in range(4000))
    write_metrics(path, row)


def save_picture(path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(NOISE).save(temporary, **({"quality": 95} if path.suffix == ".jpg" else {}))


def save_figure(path: Path) -> None:
    figure = plt.figure(figsize=(6, 6))
    figure.add_subplot().imshow(NOISE, interpolation="nearest")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


WRITERS = {
    "model.pt": save_weights,
    "a.nii.gz": save_volume,
    "a.nii": save_volume,
    "panel.npz": save_numbers,
    "manifest.json": save_text,
    "metrics.csv": save_table,
    "sheet.png": save_picture,
    "photo.jpg": save_picture,
    "curve.png": save_figure,
}


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which no file may grow beyond 10 kB (Python ignores the signal of that limit)."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an import meanwhile would leave half a file of byte code
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "reference.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_what_does_not_fit_is_named_and_the_earlier_file_stays(name: str, small_disk: Path) -> None:
    (small_disk / name).write_text("earlier")
    with pytest.raises(StorageError, match=rf"Could not write .*/{name}: File too large. .* The same command"):
        WRITERS[name](small_disk / name)
    assert (small_disk / name).read_text() == "earlier"
    assert sorted(path.name for path in small_disk.iterdir()) == sorted([name, "reference.png"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.ENOSPC,
            r"No space left on device \(\d+ MB free\). Free space on that disk, or choose a folder on another",
        ),
        (errno.EDQUOT, r"Disk quota exceeded \(\d+ MB free\). Your quota there is used up"),
        (errno.EROFS, r"Read-only file system. That file system is read-only"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True], ids=["said", "hidden by the writer"])
def test_full_disk_is_named_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str, hidden: bool
) -> None:
    def full(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    def write(target: Path) -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            if hidden:
                raise RuntimeError("[enforce fail] unexpected pos 57536")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=rf"Could not write .*/model\.pt: {message}") as caught:
        write(tmp_path / "model.pt")
    assert caught.value.errno == code
    assert caught.value.for_all_files
    assert not list(tmp_path.iterdir())


def test_errors_that_are_not_of_writing_stay_as_they_are(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(RuntimeError, match="no luck"):
        fail(RuntimeError("no luck"))
    with pytest.raises(FileNotFoundError, match="input.nii"):
        fail(FileNotFoundError(errno.ENOENT, "No such file", "input.nii"))
    with pytest.raises(PermissionError, match="input.nii"):
        fail(PermissionError(errno.EACCES, "Permission denied", "input.nii"))
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder/x.json").mkdir(parents=True)
    for path, message in (
        (tmp_path / "file/x.json", r"file/x.*: (Not a directory|File exists). A file is where a folder is expected"),
        (tmp_path / "file/y/x.json", r": Not a directory. A file is where a folder is expected"),
        (tmp_path / "folder/x.json", r"folder/x.json: Is a directory. A folder is where the file is expected"),
        (tmp_path / ("n" * 300), r": File name too long. Rename the input, or choose a folder with a shorter path"),
    ):
        with pytest.raises(StorageError, match=message):
            write_json(1, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_longest_name_of_a_file_system_can_be_written(tmp_path: Path) -> None:
    for name in ("n" * 248 + ".nii.gz", "é" * 124 + ".nii.gz"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.name.endswith(".nii.gz")
            temporary.write_text("a")
        assert (tmp_path / name).read_text() == "a"


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace = Path.replace

    def note(path: Path) -> None:
        events.append(f"sync {path.name if path.name == 'a.txt' else 'temporary' if is_partial(path) else 'folder'}")

    def renamed(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(files, "sync_file", note)
    monkeypatch.setattr(files, "sync_folder", note)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
        events.append("written")
    assert events == ["written", "sync temporary", "rename", "sync folder"]


def test_every_file_of_a_folder_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(storage, "sync_file", lambda path: seen.append(path.name))
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "sub").mkdir()
        (partial / "a").write_text("a")
        (partial / "sub/b").write_text("b")
        assert not (tmp_path / "out").exists()
    assert sorted(seen) == ["a", "b"]
    assert (tmp_path / "out/sub/b").read_text() == "b"


def dead_pid() -> int:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def named(path: Path, pid: int) -> Path:
    """A temporary name as another process of this machine gives it."""
    own = partial_path(path)
    return own.with_name(own.name.replace(f"{os.getpid():08x}", f"{pid:08x}"))


def test_leftovers_are_removed_but_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    living, user = partial_path(tmp_path / "report.html"), tmp_path / ".part-time.txt"
    old = [tmp_path / name for name in (".part-0123456789ab-manifest.json", ".metrics.csv.123.tmp", ".part-123-a b\n")]
    dead = [*old, named(tmp_path / "a.nii.gz", dead_pid()), tmp_path / "sub/.part-0123456789ab-x.npz"]
    for path in (*dead, living, user, tmp_path / ".metrics.csv.tmp", tmp_path / ".hidden/a"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    folder = tmp_path / f".crops.{'0' * 32}.partial"
    (folder / "sub").mkdir(parents=True)
    remove_partial_files(tmp_path)
    assert not folder.exists()
    assert [path for path in dead if path.exists()] == dead[-1:]
    with caplog.at_level(logging.INFO):
        remove_partial_files(tmp_path, below=True)
    assert "removed 1 unfinished files of a run that was killed" in caplog.text
    assert not dead[-1].exists()
    kept = [living, user, tmp_path / ".metrics.csv.tmp", tmp_path / ".hidden/a"]
    assert all(path.read_text() == "half" for path in kept)
    remove_partial_files(tmp_path / "absent")


def test_names_tell_the_living_from_the_dead(tmp_path: Path) -> None:
    assert not names_a_dead_writer(partial_path(tmp_path / "a"))
    assert names_a_dead_writer(named(tmp_path / "a", dead_pid()))
    assert not names_a_dead_writer(tmp_path / ".part-0123456789ab-a")  # of an earlier version


def test_folder_of_a_killed_process_goes_when_the_same_folder_is_written_again(tmp_path: Path) -> None:
    dead = tmp_path / named(tmp_path / "x", dead_pid()).name.replace(".part-", ".out.").replace("-x", ".partial")
    other = tmp_path / dead.name.replace(".out.", ".other.")
    for folder in (dead, other):
        folder.mkdir()
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "a").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, "out"])


def test_second_writer_of_a_folder_is_told_that_the_first_was_faster(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "out") as partial:
            (partial / "a").write_text("second")
            (tmp_path / "out").mkdir()
            (tmp_path / "out/a").write_text("first")

    with pytest.raises(FileExistsError, match="to be a new or empty folder, found 1 entries"):
        write()
    assert (tmp_path / "out/a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_full_disk_while_a_folder_is_written(small_disk: Path) -> None:
    def write(writer: Callable[[Any, Path], None]) -> None:
        with atomic_folder(small_disk / "dataset") as partial:
            writer(nib.Nifti1Image(np.random.rand(30, 30, 30), np.eye(4)), partial / "a.nii.gz")

    with pytest.raises(StorageError, match=r"Could not write .*/dataset: File too large"):
        write(nib.save)
    assert [path.name for path in small_disk.iterdir()] == ["reference.png"]
