"""Two real processes: each volume once, failures known to both, long waits, a process that is killed."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import ignite.distributed as idist
import nibabel as nib
import numpy as np
import pytest
from torch.multiprocessing import ProcessExitedException, start_processes

from camtools.data import list_volumes
from camtools.engine import VolumePipeline, VolumesFailedError
from camtools.engine.ranks import Ranks, on_first_rank
from camtools.transforms import LoadVolumed
from tests.conftest import write_volume


def double_volumes(rank: int, folder: Path, store: Path, events: tuple[str, ...]) -> None:
    """Double ``in/`` into ``out/``; each process writes what it sees at the end, or its error, to ``rank-<r>.txt``."""
    # collectives of the default group give up after a second
    idist.initialize("gloo", timeout=timedelta(seconds=1), init_method=f"file://{store}", world_size=2, rank=rank)

    def double(data: dict[str, Any]) -> dict[str, Any]:
        if f"slow {data['case']}" in events:
            time.sleep(2.5)
        if f"break {data['case']}" in events:
            raise ValueError(f"no luck with {data['case']}")
        if f"kill {data['case']}" in events:
            while not (folder / "out/a.nii.gz").is_file():  # of the other process
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return data | {"pred": data["image"] * 2}

    try:
        items, outputs = list_volumes(folder / "in"), {"pred": ".nii.gz"}
        VolumePipeline("test", items, [double], outputs, folder / "out", prepare=LoadVolumed("image")).run()
        seen = str(Ranks().first(lambda: sorted(stamps(folder))))
    except VolumesFailedError as error:
        seen = str(error)
    (folder / f"rank-{rank}.txt").write_text(seen)
    idist.finalize()


def run(folder: Path, *events: str) -> list[str]:
    """What two processes see at the end."""
    start_processes(double_volumes, (folder, folder / uuid4().hex, events), nprocs=2, start_method="fork")
    return [(folder / f"rank-{rank}.txt").read_text() for rank in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":  # a and c go to the first process, b and d to the second
        write_volume(tmp_path / f"in/{name}.nii.gz", np.full((3, 4, 2), ord(name), np.int16))
    return tmp_path


def stamps(folder: Path) -> dict[str, int]:
    return {path.name[0]: path.stat().st_mtime_ns for path in (folder / "out").glob("?.nii.gz")}


def test_one_process_is_its_own_company() -> None:
    assert Ranks().gather(3) == [3]
    assert Ranks().first(lambda: "a") == "a"
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        Ranks().first(lambda: 1 / 0)


def test_every_volume_once_and_waits_beyond_the_timeout_of_pytorch(folder: Path) -> None:
    assert run(folder, "slow d") == ["['a', 'b', 'c', 'd']"] * 2
    for name in "abcd":
        assert np.unique(nib.load(folder / f"out/{name}.nii.gz").dataobj).tolist() == [2 * ord(name)]


def test_failures_are_known_to_all_once_all_are_done(folder: Path) -> None:
    seen = run(folder, "break b", "slow c")
    assert seen[0] == seen[1]
    assert seen[0].startswith("test: 1 of 4 volumes failed, the other 3 are done:\n")
    assert "no luck with b" in seen[0]
    first = stamps(folder)
    assert set(first) == {"a", "c", "d"}
    assert run(folder) == ["['a', 'b', 'c', 'd']"] * 2
    assert stamps(folder) | first == stamps(folder)


def test_after_a_kill_finished_volumes_are_not_made_again(folder: Path) -> None:
    with pytest.raises(ProcessExitedException, match="process 1 terminated with signal SIGKILL"):
        run(folder, "kill d")
    finished = stamps(folder)
    assert {"a", "b"} <= set(finished) <= {"a", "b", "c"}
    assert run(folder) == ["['a', 'b', 'c', 'd']"] * 2
    assert stamps(folder) | finished == stamps(folder)


def work_on_the_first(rank: int, folder: Path, store: Path) -> None:
    idist.initialize("gloo", init_method=f"file://{store}", world_size=2, rank=rank)
    ranks = Ranks()
    assert ranks.gather(rank) == [0, 1]
    try:
        ranks.first(lambda: (folder / "gone").read_text())
    except FileNotFoundError as error:
        (folder / f"rank-{rank}.txt").write_text(str(error))

    @on_first_rank
    def write(name: str) -> str:
        (folder / f"{name}-{rank}.txt").touch()
        return f"rank {rank}"

    assert write("once") == "rank 0"
    idist.finalize()


def test_error_and_value_of_the_first_process_reach_all(tmp_path: Path) -> None:
    start_processes(work_on_the_first, (tmp_path, tmp_path / "store"), nprocs=2, start_method="fork")
    texts = [(tmp_path / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1]
    assert "gone" in texts[0]
    assert [path.name for path in tmp_path.glob("once-*")] == ["once-0.txt"]
