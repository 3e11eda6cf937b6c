"""How this process uses memory and cores: settings that make torch faster on a CPU and change no result."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

__all__ = [
    "allowed_cores",
    "limit_threads",
    "memory_is_reused",
    "prepare_process",
    "reuse_memory",
    "single_threaded_blas",
]

# Parameters of mallopt (glibc): the size above which a block is mapped separately, and when the heap is trimmed.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK = 1 << 30
NEVER_TRIM = (1 << 31) - 1

_state = {"reused": False}


def prepare_process() -> None:
    """Apply the settings of this module, as the bundles and the ``camtools`` command do.

    Example:
        >>> prepare_process()
    """
    reuse_memory()
    single_threaded_blas()
    limit_threads()


def reuse_memory() -> bool:
    """Let this process keep the memory of freed CPU tensors for the next ones.

    By default, glibc gives every large block back to the kernel when it is freed and has to ask for it, zeroed page by
    page, a moment later. Networks on a CPU free and allocate many megabytes per layer. After this call, blocks below
    1 GiB stay in the process; its memory no longer shrinks below the largest amount in use at one time. Results do
    not change. The setting holds for the whole process, so importing camtools does not apply it: the
    bundles and the ``camtools`` command call this function, and other programs may.

    Returns:
        True when the C library accepted the settings; False without glibc (macOS, Windows, musl).

    Example:
        >>> reuse_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, NEVER_TRIM))
    _state["reused"] = all(mallopt(name, value) == 1 for name, value in settings)
    return _state["reused"]


def memory_is_reused() -> bool:
    """Whether :func:`reuse_memory` has succeeded in this process.

    Example:
        >>> memory_is_reused() in (True, False)
        True
    """
    return _state["reused"]


def single_threaded_blas() -> None:
    """Let NumPy and SciPy multiply and invert matrices in the calling thread, for the rest of the process.

    The matrices of this package are 4 x 4 affines. OpenBLAS of NumPy 1.26 starts a thread on every core for them, and
    these threads keep spinning for a while on cores that torch needs: the classifier of UM-CAM then trained a third
    longer on two cores. Torch has its own linear algebra, which keeps its threads. The setting holds for the whole
    process, so the bundles and the ``camtools`` command apply it and importing camtools does not.

    Example:
        >>> single_threaded_blas()
    """
    threadpool_limits(limits=1, user_api="blas")


def allowed_cores() -> int:
    """Cores that this process may use, at least 1: the smallest of what is known.

    - Cores of the machine, and the affinity of the process (``taskset``, Slurm's ``--cpus-per-task``).
    - CPU quota of its cgroup and of all cgroups above it, version 2 or 1 (``docker --cpus``, limits of Kubernetes),
      rounded up.
    - ``OMP_NUM_THREADS``, if it is a positive number.
    - ``torch.get_num_threads()``, if torch has been imported.

    Example:
        >>> 1 <= allowed_cores() <= os.cpu_count()
        True
    """
    known = [os.cpu_count() or 1, *_cgroup_quotas(Path("/"))]
    if hasattr(os, "sched_getaffinity"):
        known.append(len(os.sched_getaffinity(0)))
    wanted = os.environ.get("OMP_NUM_THREADS", "").strip()
    if wanted.isdecimal() and int(wanted) > 0:
        known.append(int(wanted))
    if "torch" in sys.modules:
        known.append(sys.modules["torch"].get_num_threads())
    return max(1, min(known))


def limit_threads() -> None:
    """Let torch start no more threads than :func:`allowed_cores`, unless ``OMP_NUM_THREADS`` is set.

    torch starts a thread for every core that the process can see, and does not look at a CPU quota. Its threads wait
    for each other spinning, so threads without a core slow the others down, often more than tenfold. The number of
    threads is never raised. If torch has not been imported, ``OMP_NUM_THREADS`` is set for it, but only where the
    number is below the cores of the machine.

    Example:
        >>> limit_threads()
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = allowed_cores()
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        if cores < torch.get_num_threads():
            torch.set_num_threads(cores)
    elif cores < (os.cpu_count() or 1):
        os.environ["OMP_NUM_THREADS"] = str(cores)


def _cgroup_quotas(root: Path) -> Iterator[int]:
    """CPU quotas of the cgroups of this process, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        for mount in _mounts(root / "sys/fs/cgroup", number, controllers):
            # In a container, the path may be that of the host. The mounted folder is then the container's own cgroup.
            own = mount / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(mount):
                    yield from _quota(folder)


def _mounts(base: Path, number: str, controllers: str) -> set[Path]:
    if number == "0":
        return {base, base / "unified"}  # version 2, alone or beside version 1
    if "cpu" in controllers.split(","):
        return {base / "cpu", base / controllers}
    return set()


def _quota(folder: Path) -> Iterator[int]:
    try:
        if (folder / "cpu.max").exists():  # version 2
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
        if quota != "max" and int(quota) > 0 and int(period) > 0:
            yield math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no limit here
        return
