"""How this process uses memory and cores: settings that make torch faster on a CPU and change no result."""

from __future__ import annotations

import ctypes
import sys

from threadpoolctl import threadpool_limits

__all__ = ["memory_is_reused", "prepare_process", "reuse_memory", "single_threaded_blas"]

# Parameters of mallopt (glibc): the size above which a block is mapped separately, and when the heap is trimmed.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK = 1 << 30
NEVER_TRIM = (1 << 31) - 1

_state = {"reused": False}


def prepare_process() -> None:
    """Apply both settings of this module, as the bundles and the ``camtools`` command do.

    Example:
        >>> prepare_process()
    """
    reuse_memory()
    single_threaded_blas()


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
