from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from camtools import process

PROGRAM = """
import torch
from camtools.process import memory_is_reused, reuse_memory
from camtools.cams.passes import images_per_pass
from resource import RUSAGE_SELF, getrusage

faults = lambda: getrusage(RUSAGE_SELF).ru_minflt
images = torch.zeros(100, 3, 256, 256)
def work():
    before = faults()
    for _ in range(5):
        torch.ones(16_000_000)  # 64 MB; glibc itself learns to keep blocks of up to 32 MB
    return faults() - before
print(work(), images_per_pass(images, None), reuse_memory(), memory_is_reused())
work()
work()
print(work(), images_per_pass(images, None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    before, after = (line.split() for line in done.stdout.splitlines())
    assert before[1:] == ["4", "True", "True"]
    assert after[1:] == ["16"]
    assert int(before[0]) > 100  # 5 times 16,000 pages, or 32 huge pages
    assert int(after[0]) < int(before[0]) / 2


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process.reuse_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")

    def no_library(name: object) -> object:
        raise OSError("no C library")

    monkeypatch.setattr(process.ctypes, "CDLL", no_library)
    assert process.reuse_memory() is False
    monkeypatch.setattr(process.ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    assert process.reuse_memory() is False


BLAS = """
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
from camtools.process import single_threaded_blas

def threads():
    return sorted({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})

numpy.linalg.inv(numpy.eye(4))
torch.set_num_threads(3)
single_threaded_blas()
print(threads(), torch.get_num_threads())
"""


def test_numpy_keeps_to_one_thread_and_torch_to_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", BLAS], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["[1]", "3"]


def cgroup_files(root: Path, own: str, files: dict[str, str]) -> None:
    """A file system with the cgroups of one process: ``/proc/self/cgroup``, and files below ``/sys/fs/cgroup``."""
    places = {f"sys/fs/cgroup/{name}": text for name, text in files.items()} | {"proc/self/cgroup": own}
    for name, text in places.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


V1 = "12:cpuset:/\n3:cpu,cpuacct:/job\n0::/"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/job/step", {"job/step/cpu.max": "150000 100000", "job/cpu.max": "max 100000"}, [2]),
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "job/cpu.max": "300000 100000"}, [3]),
        ("0::/job", {"job/cpu.max": "400000 100000", "cpu.max": "50000 100000"}, [4, 1]),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, [2]),  # seen from within a container
        (V1, {"cpu,cpuacct/job/cpu.cfs_quota_us": "250000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, [3]),
        (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, [1]),
        (V1, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, []),
        ("4:memory:/job\n0::/", {"memory/job/cpu.cfs_quota_us": "100000", "unified/job/cpu.max": "100000 100000"}, []),
        ("0::/job", {"job/cpu.max": "damaged"}, []),
        ("0::/job", {}, []),
    ],
)
def test_quota_of_the_cgroups(own: str, files: dict[str, str], expected: list[int], tmp_path: Path) -> None:
    assert list(process._cgroup_quotas(tmp_path)) == []  # no Linux
    cgroup_files(tmp_path, own, files)
    assert list(process._cgroup_quotas(tmp_path)) == expected


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Describes a machine with 64 cores, 16 of them for this process."""
    set_by_torch = torch.get_num_threads()

    def describe(quotas: tuple[int, ...] = (), omp: str | None = None, torch_threads: int = 16) -> None:
        monkeypatch.setattr(process, "_cgroup_quotas", lambda root: iter(quotas))
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if omp is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", omp)
        torch.set_num_threads(torch_threads)

    yield describe
    torch.set_num_threads(set_by_torch)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 16),
        ({"quotas": (8, 3)}, 3),
        ({"quotas": (32,), "omp": "5"}, 5),
        ({"omp": "40", "torch_threads": 40}, 16),
        ({"omp": "4,2"}, 16),  # a list for nested threads
        ({"omp": "0"}, 16),
        ({"torch_threads": 2}, 2),
    ],
)
def test_allowed_cores_are_the_fewest_of_all(
    machine: Callable[..., None], settings: dict[str, Any], expected: int
) -> None:
    machine(**settings)
    assert process.allowed_cores() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"quotas": (3,)}, 3),
        ({"quotas": (3,), "torch_threads": 2}, 2),
        ({"torch_threads": 20}, 16),
        ({"quotas": (3,), "omp": "20", "torch_threads": 20}, 20),
    ],
)
def test_torch_gets_no_more_threads_than_cores(
    machine: Callable[..., None], settings: dict[str, Any], expected: int
) -> None:
    machine(**settings)
    process.prepare_process()
    assert torch.get_num_threads() == expected


@pytest.mark.parametrize(("quotas", "expected"), [((3,), "3"), ((), "16")])
def test_torch_is_told_before_it_is_imported(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, quotas: tuple[int, ...], expected: str
) -> None:
    machine(quotas=quotas)
    monkeypatch.delitem(sys.modules, "torch")
    process.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == expected
    machine(quotas=quotas)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    process.limit_threads()
    assert "OMP_NUM_THREADS" not in os.environ
