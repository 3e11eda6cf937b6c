"""Keep the memory of freed tensors for the next ones: on Linux CPUs, a fifth to a half of the time of large batches."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["memory_is_reused", "reuse_memory"]

# Parameters of mallopt (glibc): above which size a block is mapped by itself, and when the top of the heap is trimmed.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK = 1 << 30
NEVER_TRIM = (1 << 31) - 1

_state = {"reused": False}


def reuse_memory() -> bool:
    """Let this process keep the memory of freed CPU tensors for the next ones.

    By default, glibc gives every large block back to the kernel when it is freed and has to ask for it, zeroed page by
    page, a moment later. Networks on a CPU free and allocate many megabytes per layer. After this call, blocks below
    1 GiB stay in the process; its memory no longer shrinks below the largest amount in use at one time. Nothing that is
    computed changes. The setting holds for the whole process, which is why it is not made without being asked for:
    the bundles and the ``camtools`` command ask for it, a program that imports camtools may.

    Returns:
        True when the C library took the settings; False where there is no glibc (macOS, Windows, musl).

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
    """Whether :func:`reuse_memory` was called with success in this process.

    Example:
        >>> memory_is_reused() in (True, False)
        True
    """
    return _state["reused"]
