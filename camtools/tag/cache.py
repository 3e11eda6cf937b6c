"""Volumes that were read: the last ones used, within a limit of bytes, and the next ones ahead of time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from camtools.tag.pixels import Pixels

__all__ = ["PixelCache"]


class PixelCache:
    """Reads each volume once while it is kept; at most one for the page and one ahead of time are read together.

    Args:
        read: reads a volume, by id.
        limit: bytes of all volumes that are kept; the last one used is kept whatever its size.
    """

    def __init__(self, read: Callable[[str], Pixels], limit: int = 2_000_000_000) -> None:
        self._read = read
        self._limit = limit
        self._kept: OrderedDict[str, Future[Pixels]] = OrderedDict()
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._wanted: list[str] = []
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)

    def get(self, key: str) -> Pixels:
        """A volume; reads it where it is not kept.

        Raises:
            DataError: it cannot be read.
        """
        future, is_new = self._claim(key)
        if is_new:
            with self._one_at_a_time:
                self._fill(key, future)
        return future.result()

    def ahead(self, keys: Sequence[str]) -> None:
        """Read these volumes when there is nothing else to do, in this order, instead of those asked for before."""
        self._wanted = list(keys)
        if not self._thread.is_alive() and not self._stopped:
            self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    @property
    def size(self) -> int:
        """Bytes of the volumes that are kept."""
        with self._lock:
            return sum(future.result().size for future in self._kept.values() if _is_good(future))

    def _claim(self, key: str) -> tuple[Future[Pixels], bool]:
        with self._lock:
            is_new = key not in self._kept
            future = self._kept.setdefault(key, Future())
            self._kept.move_to_end(key)
        return future, is_new

    def _fill(self, key: str, future: Future[Pixels]) -> None:
        try:
            future.set_result(self._read(key))
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            total = sum(one.result().size for one in self._kept.values() if _is_good(one))
            for other, one in list(self._kept.items())[:-1]:
                if total <= self._limit:
                    break
                if _is_good(one) and other != key:
                    total -= self._kept.pop(other).result().size

    def _work(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            while self._wanted and not self._stopped:
                key = self._wanted.pop(0)
                future, is_new = self._claim(key)
                if is_new:
                    self._fill(key, future)
                if _is_good(future) and 3 * future.result().size > self._limit:
                    self._wanted = []  # it would push out the volume on the screen


def _is_good(future: Future[Pixels]) -> bool:
    return future.done() and future.exception() is None
