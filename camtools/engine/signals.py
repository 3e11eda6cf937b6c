"""Termination signals, turned into exceptions so that no partly written files remain."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ignite.distributed as idist

__all__ = ["signals_as_exits"]

NAMES = ("SIGTERM", "SIGHUP")  # sent by job schedulers, and when a terminal is closed


@contextmanager
def signals_as_exits() -> Iterator[None]:
    """Raise ``SystemExit`` when SIGTERM or SIGHUP arrives within the block. The exit code is 128 plus its number.

    Signals that have a handler or are ignored stay as they are. With several processes, nothing changes and a signal
    ends its process at once: the process may be waiting for another one in code that no exception can interrupt.
    """
    if threading.current_thread() is not threading.main_thread() or idist.get_world_size() > 1:
        yield
        return
    before: dict[int, Any] = {}
    for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
        if signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
