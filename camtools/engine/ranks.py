"""Communication between the processes of one run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import ignite.distributed as idist
import torch.distributed

__all__ = ["Ranks", "on_first_rank"]

T = TypeVar("T")
P = ParamSpec("P")
PATIENCE = timedelta(days=365)


class Ranks:
    """The processes of a run, which wait for each other without a time limit.

    PyTorch's default group times out after some minutes (by default 10 with ``nccl``, 30 with ``gloo``), but one
    process may still have hours of work when another is done. This group waits on the CPU without a limit. If a process
    dies, all other processes get an error at once. All processes must create the object together, before the work that
    they wait for.

    Example:
        >>> Ranks().gather("done")
        ['done']
    """

    def __init__(self) -> None:
        several = idist.get_world_size() > 1
        self._group: Any = torch.distributed.new_group(backend="gloo", timeout=PATIENCE) if several else None

    def gather(self, value: T) -> list[T]:
        """Values of all processes, by rank, on every process."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * idist.get_world_size()
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def first(self, function: Callable[[], T]) -> T:
        """Call a function on the first process only. Every process gets its value, or raises its error."""
        value: Any = None
        error: Exception | None = None
        if idist.get_rank() == 0:
            try:
                value = function()
            except Exception as raised:
                error = raised
        value, error = self.gather((value, error))[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]


def on_first_rank(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that only the first process runs it. All processes get its value or its error.

    Example:
        >>> on_first_rank(max)([1, 3, 2])
        3
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return Ranks().first(lambda: function(*args, **kwargs))

    return run
