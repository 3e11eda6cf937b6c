"""Threads of NumPy and of torch (camtools.threads)."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
from camtools.threads import single_threaded_blas

def threads():
    return sorted({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})

numpy.linalg.inv(numpy.eye(4))
torch.set_num_threads(3)
single_threaded_blas()
print(threads(), torch.get_num_threads())
"""


def test_numpy_keeps_to_one_thread_and_torch_to_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["[1]", "3"]
