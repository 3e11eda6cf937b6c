"""Worker processes of the pydensecrf backend."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from camtools.crf import dense_crf, pydensecrf_pool
from camtools.crf.pydensecrf_pool import WorkerPool, map_slices
from tests.crf_slices import structured_slices

pytest.importorskip("pydensecrf", reason="pydensecrf is not installed")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """An empty pool in the place of the one of this process, on two cores, started for two slices already."""
    pool = WorkerPool()
    monkeypatch.setattr(pydensecrf_pool, "_pool", pool)
    monkeypatch.setattr(pydensecrf_pool, "_cores", lambda: 2)
    monkeypatch.setattr(pydensecrf_pool, "_START_PIXELS", 2)
    yield pool
    pool.close()


def refine(slices: int = 3) -> torch.Tensor:
    return dense_crf(*structured_slices((slices, 1, 16, 21)), backend="pydensecrf")


def test_workers_give_what_this_process_gives_and_are_kept(pool, monkeypatch):
    pooled = refine()
    workers = [worker.pid for worker in pool.workers]
    assert len(workers) == 2
    monkeypatch.setattr(pydensecrf_pool, "_START_PIXELS", 10**9)
    assert torch.equal(refine(), pooled)
    assert [worker.pid for worker in pool.workers] == workers
    pool.close()
    assert torch.equal(refine(), pooled)
    assert not pool.workers


def test_dead_worker_is_reported_and_replaced(pool):
    pooled = refine()
    for worker in pool.workers:
        worker.kill()
        worker.wait()
    with pytest.raises(
        RuntimeError, match="ended with exit code .*; it may have run out of memory: try again with fewer"
    ):
        refine()
    assert torch.equal(refine(), pooled)


def test_failure_in_a_worker_is_reported(pool):
    with pytest.raises(RuntimeError, match=r"pydensecrf failed in a worker process:\nTraceback"):
        map_slices(lambda index: (None, [], 1), slices=2, pixels=4)  # type: ignore[arg-type, return-value]
    assert not pool.workers


def test_no_workers_for_little_work(pool, monkeypatch):
    refine(slices=1)
    monkeypatch.setattr(pydensecrf_pool, "_START_PIXELS", 3 * 16 * 21 + 1)
    refine(slices=3)
    assert not pool.workers


@pytest.mark.parametrize("where", ["forked", "daemonic", "frozen", "embedded", "one core"])
def test_no_workers_where_they_cannot_be(pool, monkeypatch, where):
    if where == "forked":
        pool.owner = os.getpid() + 1
    elif where == "daemonic":
        monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    elif where == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif where == "embedded":
        monkeypatch.setattr(multiprocessing.spawn, "get_executable", lambda: None)
    else:
        monkeypatch.setattr(pydensecrf_pool, "_cores", lambda: 1)
    assert refine().shape == (3, 2, 16, 21)
    assert not pool.workers


def test_ranks_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert pydensecrf_pool._cores() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert pydensecrf_pool._cores() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert pydensecrf_pool._cores() == 1


def test_script_without_main_guard_runs_once_and_takes_its_workers_along(tmp_path):
    script = tmp_path / "refine.py"
    script.write_text("""
import torch
from camtools.crf import dense_crf, pydensecrf_pool as p
p._START_PIXELS, p._cores = 0, lambda: 2
dense_crf(torch.rand(4, 1, 9, 9), torch.rand(4, 1, 9, 9), backend="pydensecrf")
print("workers:", *(worker.pid for worker in p._pool.workers))
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    name, *workers = done.stdout.split()
    assert (name, len(workers)) == ("workers:", 2)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker), 0)
