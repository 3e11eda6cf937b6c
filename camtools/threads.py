"""Threads of NumPy's linear algebra, which take the cores from torch."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

__all__ = ["single_threaded_blas"]


def single_threaded_blas() -> None:
    """Let NumPy and SciPy multiply and invert matrices in the calling thread, for the rest of the process.

    The matrices of this package are 4 x 4 affines. OpenBLAS of NumPy 1.26 starts a thread on every core for them, and
    these threads go on spinning for a while, on cores that torch needs: the classifier of UM-CAM then trained a third
    longer on two cores. Torch has its own linear algebra, which keeps its threads. The setting holds for the whole
    process, which is why the bundles and the ``camtools`` command ask for it and importing camtools does not.

    Example:
        >>> single_threaded_blas()
    """
    threadpool_limits(limits=1, user_api="blas")
