"""Peak memory of one contestant of ``cams.py``, measured in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from dataclasses import replace
from pathlib import Path

import torch
from cams_ours import Contestant, make
from cams_tasks import Case, prepare

from camtools.process import reuse_memory

MIB = 2**20
IMPORTED_ONCE = ["camtools.cams", "torchvision", "pytorch_grad_cam", "torchcam", "monai.visualize"]


def peak_mib(case: Case, contestant: Contestant, threads: int, reused: bool) -> float:
    """Highest memory of one call, above the level with model, images and the library's object in place, in MiB.

    A call on one small image goes before, with another copy of the model: what is imported and loaded then is not
    counted.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    pool = context.Pool(1)
    try:
        return pool.apply(_peak_mib, (case, contestant, threads, reused))
    finally:
        pool.close()
        pool.join()


def _peak_mib(case: Case, contestant: Contestant, threads: int, reused: bool) -> float:
    torch.set_num_threads(threads)
    if reused:
        reuse_memory()
    make(contestant, prepare(replace(case, batch=1, size=64)))()  # imports, and code that is loaded when first used
    run = make(contestant, prepare(case))
    if torch.device(case.device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        level = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - level) / MIB
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest level starts again at the present one
    level = _status("VmRSS")
    run()
    return (_status("VmHWM") - level) / MIB


def _status(field: str) -> int:
    """A line of /proc/self/status, in bytes: ``ru_maxrss`` will not do, it can begin at the parent's highest level."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
