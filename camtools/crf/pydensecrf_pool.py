"""Worker processes for pydensecrf, which computes on one core and lets no other Python thread run meanwhile.

The workers are programs of their own (``pydensecrf_worker.py``) at the end of pipes, not forks of this process: forks
of a process in which torch has started threads may hang, and multiprocessing's other start methods run the user's
script a second time. They live until this process ends.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import spawn
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from camtools.crf import pydensecrf_worker
from camtools.crf.pydensecrf_worker import foreground_probability

if TYPE_CHECKING:
    from camtools.crf.pydensecrf_worker import Request

# Starting the workers takes 0.2 s, the time of 250 000 pixels on one core; two workers win it back with twice as many.
_START_PIXELS = 500_000
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def map_slices(build: Callable[[int], Request], slices: int, pixels: int) -> list[NDArray[Any]]:
    """Foreground marginals of every slice, in order.

    Args:
        build: index of a slice to what the worker needs of it.
        slices: number of slices.
        pixels: pixels of one slice.

    Raises:
        RuntimeError: a worker failed or was killed.
    """
    if slices < 2 or not _may_have_workers():
        return [foreground_probability(*build(index)) for index in range(slices)]
    return _pool.map(build, slices, worth_a_start=slices * pixels >= _START_PIXELS)


class WorkerPool:
    """Workers that are started when they are needed and kept. Any thread may call; calls take turns."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.workers: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def map(self, build: Callable[[int], Request], slices: int, worth_a_start: bool) -> list[NDArray[Any]]:
        """Marginals of every slice; by this process alone when there is no worker and a start is not worth it."""
        with self._lock:
            while worth_a_start and len(self.workers) < min(_cores(), slices):
                self.workers.append(_start_worker())
            if not self.workers:
                return [foreground_probability(*build(index)) for index in range(slices)]
            try:
                return self._distribute(build, slices)
            except BaseException:
                self.close()  # a worker may be in the middle of an answer that nobody waits for
                raise

    def close(self) -> None:
        """End the workers; they hold nothing that could be lost."""
        if os.getpid() != self.owner:
            return
        for worker in self.workers:
            worker.kill()
            worker.communicate()
        self.workers.clear()

    def _distribute(self, build: Callable[[int], Request], slices: int) -> list[NDArray[Any]]:
        idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for worker in self.workers:
            idle.put(worker)

        def answer(index: int) -> NDArray[Any]:
            worker = idle.get()
            try:
                return _ask(worker, build(index))
            finally:
                idle.put(worker)

        threads = ThreadPoolExecutor(len(self.workers))
        try:
            return list(threads.map(answer, range(slices)))
        finally:
            threads.shutdown(cancel_futures=True)


def _ask(worker: subprocess.Popen[bytes], request: Request) -> NDArray[Any]:
    try:
        pydensecrf_worker.send(cast(IO[bytes], worker.stdin), request)
        succeeded, reply = pydensecrf_worker.receive(cast(IO[bytes], worker.stdout))
    except (EOFError, OSError) as error:
        raise RuntimeError(
            f"a worker process of pydensecrf ended with exit code {worker.wait()}; it may have run out of memory: "
            "try again with fewer slices, or choose backend='torch'"
        ) from error
    if not succeeded:
        raise RuntimeError(f"pydensecrf failed in a worker process:\n{reply}")
    return cast(NDArray[Any], reply)


def _start_worker() -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [_interpreter(), str(Path(pydensecrf_worker.__file__))],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | _ONE_THREAD,
    )
    # The path of this process, so that worker and parent agree about which pydensecrf there is.
    pydensecrf_worker.send(cast(IO[bytes], worker.stdin), sys.path)
    return worker


def _may_have_workers() -> bool:
    """Not in processes that were forked from the owner of the pool, and not in workers of a DataLoader and the like."""
    frozen = getattr(sys, "frozen", False)
    daemonic = multiprocessing.current_process().daemon
    return os.getpid() == _pool.owner and not daemonic and not frozen and bool(_interpreter()) and _cores() > 1


def _interpreter() -> str:
    executable = spawn.get_executable()
    return os.fsdecode(executable) if executable else ""


def _cores() -> int:
    """Cores for this process; the processes that torchrun has started on this machine share them."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


_pool = WorkerPool()
atexit.register(_pool.close)
