"""Watch a forward pass: which axis holds what, and gradients also where the model switches them off."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.overrides import TorchFunctionMode

from camtools.cams.axes import RESHAPING, Axes, axes_after, image_axes, merged_spaces, tensors_in

__all__ = ["Watch", "without_checkpoints"]


class Watch(TorchFunctionMode):
    """Context of one forward pass of a model on images ``(B, C, *spatial)``.

    Two things are done for each function of torch that the model calls:

    - The meaning of the axes is passed on from its inputs to its output (``camtools.cams.axes``): :meth:`axes`.
    - What depends on a tensor that requires gradients is computed with gradients, also in a part that the model runs
      under ``torch.no_grad()`` or ``torch.inference_mode()``, as a frozen encoder. What the model computes of its
      parameters alone there, or writes to its buffers, stays without.

    Args:
        images: what the model is called with.

    Attributes:
        grids: sizes of spatial axes that were made one axis, by their product: where tokens are made of patches.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 8, 8)
        >>> with Watch(images) as watch:
        ...     moved = images.permute(0, 2, 3, 1)
        >>> watch.axes(moved), watch.axes(images)  # numbers of camtools.cams.axes
        ((1, 4, 8, 2), (1, 2, 4, 8))
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.grids: dict[int, set[tuple[int, ...]]] = {}
        self._known: dict[int, tuple[weakref.ref[Tensor], Axes]] = {}
        self.note(images, image_axes(images.ndim))

    def axes(self, value: Tensor) -> Axes | None:
        """What the axes of a tensor hold, None where that is not known."""
        entry = self._known.get(id(value))
        return entry[1] if entry is not None and entry[0]() is value and len(entry[1]) == value.ndim else None

    def note(self, value: Tensor, axes: Axes) -> None:
        """Say what the axes of a tensor hold."""
        self._known[id(value)] = (weakref.ref(value), axes)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch on behalf of the model."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
        output = _call(name, func, args, kwargs)
        for value in output if isinstance(output, list | tuple) else (output,):
            if isinstance(value, Tensor):
                axes = axes_after(name, func, args, kwargs, value, self.axes)
                if axes is not None:
                    self.note(value, axes)
                if name in RESHAPING:
                    self._note_grids(next(tensors_in(args, kwargs)), value)
        return output

    def _note_grids(self, source: Tensor, output: Tensor) -> None:
        axes = self.axes(source)
        if axes is not None:
            for grid in merged_spaces(axes, source.shape, output.shape):
                self.grids.setdefault(torch.Size(grid).numel(), set()).add(grid)


def _call(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    grad = torch.is_grad_enabled()
    inference = torch.is_inference_mode_enabled()
    if grad and not inference:
        return function(*args, **kwargs)
    wanted = _depends(name, args, kwargs)
    if inference:  # tensors made in inference mode cannot enter a graph later
        with torch.inference_mode(False), torch.set_grad_enabled(wanted):
            return function(*args, **kwargs)
    if wanted:
        with torch.enable_grad():
            return function(*args, **kwargs)
    return function(*args, **kwargs)


def _depends(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an input is part of a graph. For writes, only the target counts: a buffer must stay out of it."""
    inputs = list(tensors_in(args, kwargs))
    if name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__")):
        inputs = inputs[:1]
    return any(value.requires_grad and not isinstance(value, torch.nn.Parameter) for value in inputs)


class _Plain:
    """In the place of ``torch.utils.checkpoint.CheckpointFunction``: calls a part of the model and keeps its graph."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


def _plain_generator(*args: Any, **kwargs: Any) -> Iterator[None]:
    """In the place of torch's generator around a part that is checkpointed without reentrant autograd."""
    yield


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Run the checkpointed parts of a model (``torch.utils.checkpoint``) like all others.

    They would run a second time in the backward pass, without the hooks that were there in the first, which torch
    refuses; the older kind gives no gradients of activations at all. The generators are private in torch, and there is
    no public way. Where they are missing, torch's own error remains.
    """
    module: Any = torch.utils.checkpoint
    stands_in = {
        "CheckpointFunction": _Plain,
        "_checkpoint_without_reentrant_generator": _plain_generator,
        "_checkpoint_without_reentrant_generator_impl": _plain_generator,
    }
    before = {name: getattr(module, name) for name in stands_in if hasattr(module, name)}
    try:
        for name in before:
            setattr(module, name, stands_in[name])
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
