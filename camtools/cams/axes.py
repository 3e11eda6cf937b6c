"""Which axis of a tensor holds what, followed through the functions that a model calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["BATCH", "CHANNEL", "Axes", "axes_after", "image_axes", "merged_spaces", "space", "tensors_in"]

# What an axis may hold, as bits: one bit is known for certain, several are a mixture, all are not known.
BATCH, CHANNEL = 1, 2
ANYTHING = 31  # with three axes in space

Axes = tuple[int, ...]
Known = Callable[[Tensor], Axes | None]

PERMUTING = {"permute", "transpose", "transpose_", "swapaxes", "swapdims", "movedim", "moveaxis", "t"}
PERMUTING |= {"T", "mT", "H", "mH", "adjoint"}
RESHAPING = {"view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze"}
OF_SECOND_AXIS = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
OF_SECOND_AXIS |= {"batch_norm", "instance_norm", "group_norm", "pixel_shuffle", "pixel_unshuffle"}
OF_LAST_AXIS = {"linear", "layer_norm", "rms_norm"}
PRODUCTS = {"matmul", "bmm", "__matmul__"}
MIXING = {"einsum", "tensordot", "cdist", "inner", "outer"}


def space(axis: int) -> int:
    """The bit of a spatial axis of the images, counted from 0."""
    return 4 << axis


def image_axes(ndim: int) -> Axes:
    """Axes of images ``(B, C, *spatial)`` with ``ndim`` dimensions.

    Example:
        >>> image_axes(4)
        (1, 2, 4, 8)
    """
    return (BATCH, CHANNEL, *(space(axis) for axis in range(ndim - 2)))


def axes_after(
    name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], output: Tensor, known: Known
) -> Axes | None:
    """Axes of the output of a function, from those of its inputs.

    Convolutions and their norms say that axis 1 holds channels, linear layers and layer norms that the last one does,
    unless the input's axes are known to be others (a linear layer over the columns of an image, say). A function that
    is not known and keeps the number of axes is taken to keep their meaning.

    Args:
        name: of the function, such as ``"conv2d"``.
        function: itself; asked for the order of the axes where it permutes them.
        args: its arguments.
        kwargs: its keyword arguments.
        output: what it returned, or one tensor of several.
        known: axes of a tensor, None where nothing is known.

    Returns:
        One number for each axis, an "or" of ``BATCH``, ``CHANNEL`` and :func:`space`; None where nothing is known.
    """
    inputs = list(tensors_in(args, kwargs))
    if not inputs or name in MIXING:
        return None
    source = inputs[0]
    before = known(source)
    if name in OF_SECOND_AXIS:
        return _with_channels(before, 1, output)
    if name in OF_LAST_AXIS:
        return _with_channels(before, output.ndim - 1, output)
    if name in PRODUCTS:
        after = known(inputs[1]) if len(inputs) > 1 else None
        return (*before[:-1], after[-1]) if before and after and len(before) == len(after) == output.ndim else None
    if name in PERMUTING:
        return None if before is None else _permuted(function, args, kwargs, source, before)
    if name in RESHAPING or (source.ndim != output.ndim and source.numel() == output.numel()):
        return None if before is None else _reshaped(before, source.shape, output.shape)
    return _joined([known(value) for value in inputs if value.ndim == output.ndim])


def tensors_in(args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Tensors among the arguments of a function, and in lists and tuples of them."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (part for part in value if isinstance(part, Tensor))


def _with_channels(before: Axes | None, axis: int, output: Tensor) -> Axes | None:
    if before is not None and len(before) != output.ndim:
        return None
    before = before or (ANYTHING,) * output.ndim
    if not before[axis] & CHANNEL:
        return before
    rest = tuple(value & ~CHANNEL or ANYTHING & ~CHANNEL for value in before)
    return (*rest[:axis], CHANNEL, *rest[axis + 1 :])


def _permuted(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], source: Tensor, before: Axes
) -> Axes | None:
    """Ask the function itself: a tensor without memory, whose sizes are the numbers of its axes."""
    probe = torch.empty(tuple(range(1, source.ndim + 1)), device="meta")

    def swap(value: Any) -> Any:
        return probe if value is source else value

    try:
        order = function(*map(swap, args), **{key: swap(value) for key, value in kwargs.items()}).shape
    except (RuntimeError, TypeError, IndexError):
        return None
    return tuple(before[axis - 1] for axis in order)


def _joined(candidates: Sequence[Axes | None]) -> Axes | None:
    """What agrees with all inputs; where they contradict each other, anything."""
    joined: Axes | None = None
    for axes in candidates:
        if axes is not None:
            joined = axes if joined is None else tuple(a & b or ANYTHING for a, b in zip(joined, axes, strict=True))
    return joined


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Axes of two shapes of the same number of elements, in the smallest groups that go over into each other."""
    i = j = 0
    while i < len(before) and j < len(after):
        left, right = [i], [j]
        a, b = before[i], after[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b and i < len(before):
                a, i = a * before[i], i + 1
                left.append(i - 1)
            elif b < a and j < len(after):
                b, j = b * after[j], j + 1
                right.append(j - 1)
            else:
                return
        yield left, right


def _reshaped(before: Axes, old: Sequence[int], new: Sequence[int]) -> Axes:
    axes = [ANYTHING] * len(new)
    for left, right in _groups(old, new):
        meaning = 0
        for axis in left:
            meaning |= before[axis]
        for axis in right:
            axes[axis] = meaning
    return tuple(axes)


def merged_spaces(before: Axes, old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Sizes of the spatial axes that a reshape makes one axis of: the grid of the patches of a vision transformer.

    Example:
        >>> list(merged_spaces(image_axes(4), (2, 8, 3, 4), (2, 8, 12)))
        [(3, 4)]
    """
    if math.prod(old) != math.prod(new):
        return
    spaces = [space(axis) for axis in range(3)]
    for left, right in _groups(old, new):
        if len(left) > 1 and len(right) == 1 and [before[axis] for axis in left] == spaces[: len(left)]:
            yield tuple(old[axis] for axis in left)
