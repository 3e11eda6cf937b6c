"""How the output of a layer is read as activations ``(B, K, *spatial)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from camtools.cams.axes import BATCH, CHANNEL, Axes, space
from camtools.cams.tokens import Tokens, channels_first, channels_last
from camtools.cams.watch import Watch

__all__ = ["Layout", "Reshape", "find_layout", "put_tensor", "take_tensor"]

Reshape = Callable[[Tensor], Tensor]
ADVICE = "pass reshape=channels_last, channels_first or Tokens(...) of camtools.cams, or a function of your own"


class Layout(NamedTuple):
    """How the output of one layer is read.

    Attributes:
        read: from the output, or its gradients, to ``(B, K, *spatial)``.
        batch: axis of the output that holds the samples.
        channel: axis of the output that holds the K channels; None where ``read`` does not keep one.
    """

    read: Reshape
    batch: int
    channel: int | None


def take_tensor(output: object) -> Tensor | None:
    """The one tensor that a layer returns, directly or as the only tensor in a tuple or list."""
    if isinstance(output, list | tuple):
        tensors = [part for part in output if isinstance(part, Tensor)]
        return tensors[0] if len(tensors) == 1 else None
    return output if isinstance(output, Tensor) else None


def put_tensor(output: object, value: Tensor) -> object:
    """The output of a layer with its one tensor replaced."""
    if not isinstance(output, list | tuple):
        return value
    parts = [value if isinstance(part, Tensor) else part for part in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


def find_layout(name: str, output: Tensor, images: torch.Size, reshape: Reshape | None, watch: Watch) -> Layout:
    """Find out how to read the output of a layer, and check that it can be read.

    Args:
        name: of the layer, for messages.
        output: of the layer.
        images: shape of the images.
        reshape: given by the user. None or :class:`Tokens`: outputs with the dimensions of the images are read as
            watched.
        watch: of the forward pass.

    Raises:
        ValueError: the output cannot be read, or it is not clear how.
    """
    axes = watch.axes(output)
    if output.ndim == len(images) and (reshape is None or isinstance(reshape, Tokens)):
        layout = _of_spatial(name, output.shape, images, axes)
    elif isinstance(reshape, Tokens):
        layout = _of_tokens(name, output, images, reshape, axes, watch)
    elif reshape is not None:
        layout = _of_function(name, output, images, reshape)
    else:
        raise ValueError(
            f"expected layer {name!r} to return one tensor (B, K, *spatial) with {len(images)} dimensions like the "
            f"images, found {tuple(output.shape)}; choose a convolutional layer, or for tokens (B, N, C) pass "
            "reshape=Tokens() of camtools.cams"
        )
    _check(name, output, layout, images)
    return layout


def _check(name: str, output: Tensor, layout: Layout, images: torch.Size) -> None:
    try:
        found = layout.read(output.detach())
    except (RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected a reshape that reads layer {name!r} of shape {tuple(output.shape)}, found an error: {error}"
        ) from error
    if not isinstance(found, Tensor) or found.ndim != len(images) or len(found) != images[0] or not found.numel():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"expected activations (B, K, *spatial) of layer {name!r} with B = {images[0]} and {len(images)} "
            f"dimensions like the images, found {shape} from its output {tuple(output.shape)}; choose another layer "
            "or reshape"
        )


def _of_spatial(name: str, shape: torch.Size, images: torch.Size, axes: Axes | None) -> Layout:
    last = len(shape) - 1
    if shape[0] != images[0]:
        raise ValueError(
            f"expected activations (B, K, *spatial) of layer {name!r} with B = {images[0]} like the images, found "
            f"{tuple(shape)}; choose a layer that runs once for each image"
        )
    known = [axis for axis in range(len(shape)) if axes is not None and axes[axis] & CHANNEL]
    if not known or {1, last} <= set(known):
        first, second = _misfit(shape[2:], images[2:]), _misfit(shape[1:-1], images[2:])
        known = [1]
        if second <= min(first, 1):
            layouts = "both layouts" if first <= 1 else "(B, *spatial, K)"
            raise ValueError(
                f"expected activations (B, K, *spatial) of layer {name!r}, found {tuple(shape)} for images "
                f"{tuple(images)}, which fits {layouts}; {ADVICE}"
            )
    if 1 not in known and last not in known:
        raise ValueError(
            f"expected activations (B, K, *spatial) or (B, *spatial, K) of layer {name!r}, found its channels on axis "
            f"{known[0]} of {tuple(shape)}; pass reshape=lambda output: output.movedim({known[0]}, 1), or choose "
            "another layer"
        )
    layout = Layout(channels_first, 0, 1) if 1 in known else Layout(channels_last, 0, last)
    if axes is not None:
        _check_order(name, shape, [value for axis, value in enumerate(axes) if axis != layout.channel])
    return layout


def _check_order(name: str, shape: torch.Size, others: list[int]) -> None:
    """Check that the remaining axes are the samples and the spatial axes of the images, in this order."""
    spaces = zip(others[1:], range(len(others) - 1), strict=True)
    if others[0] & BATCH and all(value & BATCH or value == space(axis) for value, axis in spaces):
        return
    raise ValueError(
        f"expected layer {name!r} to hold one value per position of the images, with their axes in order, found "
        f"another order in its output {tuple(shape)} (windows, or transposed images); choose another layer, "
        "or pass your own reshape from its output to (B, K, *spatial)"
    )


def _misfit(grid: torch.Size, size: torch.Size) -> float:
    """How far a grid is from the proportions of the images, in its own pixels."""
    stride = min(length / cells for length, cells in zip(size, grid, strict=True))
    return max(abs(length / stride - cells) for length, cells in zip(size, grid, strict=True))


def _of_tokens(
    name: str, output: Tensor, images: torch.Size, reshape: Tokens, axes: Axes | None, watch: Watch
) -> Layout:
    shape = tuple(output.shape)
    batch = 0 if reshape.batch_first else 1
    if output.ndim != 3:
        raise ValueError(f"expected tokens (B, N, C) of layer {name!r}, found {shape}; choose another layer or reshape")
    if shape[batch] != images[0] or (axes is not None and not axes[batch] & BATCH):
        raise ValueError(
            f"expected layer {name!r} to hold the B = {images[0]} images on axis {batch}, found {shape}; "
            f"pass reshape=Tokens(batch_first={batch == 1}), or choose another layer"
        )
    if axes is not None and not axes[2] & CHANNEL:
        raise ValueError(
            f"expected layer {name!r} to hold channels on the last axis, found {shape}, where it does not; pass your "
            "own reshape from the output to (B, K, *spatial), or choose another layer"
        )
    grids = {grid for group in watch.grids.values() for grid in group}

    def read(tokens: Tensor) -> Tensor:
        return reshape(tokens, images[2:], grids)

    return Layout(read, batch, 2)


def _of_function(name: str, output: Tensor, images: torch.Size, reshape: Reshape) -> Layout:
    def read(value: Tensor) -> Tensor:
        return reshape(value)

    batch = 0 if output.shape[0] == images[0] or output.ndim < 2 or output.shape[1] != images[0] else 1
    return Layout(read, batch, _channel_axis(output, reshape))


def _channel_axis(output: Tensor, reshape: Reshape) -> int | None:
    """The axis along which a reshape takes its channels, one index for each, seen from where it takes each number."""
    indices = torch.arange(output.numel(), dtype=torch.float64, device=output.device).view(output.shape)
    try:
        taken = reshape(indices)
    except RuntimeError:  # a reshape may need its own dtype or parameters: only methods that need the axis are refused
        return None
    if taken.ndim < 2 or taken.numel() == 0 or not bool((taken == taken.round()).all()):
        return None
    for axis, places in enumerate(torch.unravel_index(taken.long(), output.shape)):
        channels = places.movedim(1, 0).flatten(1)
        numbers = torch.arange(len(channels), device=channels.device)[:, None]
        if output.shape[axis] == len(channels) and bool((channels == numbers).all()):
            return axis
    return None
