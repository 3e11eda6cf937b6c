"""Signals that ask a process to end: it ends as after an error, so that nothing half written stays."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ignite.distributed as idist

__all__ = ["signals_as_exits"]

NAMES = ("SIGTERM", "SIGHUP")  # job schedulers; a terminal that is closed


@contextmanager
def signals_as_exits() -> Iterator[None]:
    """Raise ``SystemExit`` where such a signal comes within the block; the exit code is 128 plus its number.

    Signals with a handler stay as they are, ignored ones too. One of several processes ends at once, as before: it may
    be waiting for another in code that no exception interrupts.
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
