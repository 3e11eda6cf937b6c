from __future__ import annotations

import subprocess
import sys

import pytest

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
    from camtools import process

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
