"""Which logit an activation map explains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["as_logits", "check_target", "class_indices", "confidences"]

Target = int | Tensor | None


def check_target(target: Target, batch: int) -> Target:
    """Check a target before any work: an int, an integer tensor ``(B,)`` or None.

    Raises:
        ValueError: another type, or a tensor of another shape or type.
    """
    if target is None or isinstance(target, int):
        return target
    if not isinstance(target, Tensor):
        raise ValueError(f"expected target to be an int, an integer tensor (B,) or None, found {type(target).__name__}")
    if target.shape != (batch,) or target.is_floating_point() or target.is_complex():
        raise ValueError(
            f"expected a target tensor with one integer class per image, shape ({batch},), "
            f"found shape {tuple(target.shape)} of {target.dtype}"
        )
    return target.as_subclass(Tensor)


def as_logits(output: object, batch: int) -> Tensor:
    """Return the model's output as logits ``(B, K)``.

    A ``(B,)`` output is one logit per image. Of one image, ``()`` and ``(K,)`` are its logits, from which the model
    squeezed the batch, so that any chunk of a batch gives the same.

    Raises:
        ValueError: the output is anything else.

    Example:
        >>> import torch
        >>> [tuple(as_logits(torch.zeros(shape), 1).shape) for shape in [(1, 3), (3,), ()]]
        [(1, 3), (1, 3), (1, 1)]
    """
    if isinstance(output, Tensor) and output.is_floating_point():
        if batch == 1 and output.ndim < 2:
            return output.reshape(1, -1)
        if output.ndim in (1, 2) and len(output) == batch:
            return output[:, None] if output.ndim == 1 else output
    raise ValueError(
        f"expected a classifier that returns logits (B, K) with B = {batch}, found {_described(output)}; "
        "wrap the model so that its forward returns the logits only, and name the layers as in the wrapper"
    )


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        pixels = ", scores of pixels? average them" if output.ndim > 2 else ""
        return f"{tuple(output.shape)} of {output.dtype}{pixels}"
    parts = getattr(output, "_fields", None) or getattr(output, "__dataclass_fields__", None)
    if isinstance(output, Mapping):
        parts = output
    if parts is not None:
        return f"{type(output).__name__} with {', '.join(map(str, parts))}"
    return f"{type(output).__name__} of {len(output)}" if isinstance(output, list | tuple) else type(output).__name__


def class_indices(logits: Tensor, target: Target) -> Tensor:
    """Class of each sample, ``(B,)`` int64 on the logits' device; None is the arg-max.

    Raises:
        ValueError: a class outside 0..K-1.
    """
    batch, classes = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    if isinstance(target, int):
        lowest = highest = target
        indices = torch.full((batch,), target, dtype=torch.int64, device=logits.device)
    else:
        lowest, highest = (int(bound) for bound in target.aminmax())
        indices = target.to(device=logits.device, dtype=torch.int64)
    if lowest < 0 or highest >= classes:
        wrong = lowest if lowest < 0 else highest
        hint = "; a one-logit model takes target=None or 0" if classes == 1 else ""
        raise ValueError(f"expected target in 0..{classes - 1} for a model with {classes} logits, found {wrong}{hint}")
    return indices


def confidences(logits: Tensor, indices: Tensor) -> Tensor:
    """Probability of each sample's class: the sigmoid of one logit, the softmax of several.

    Args:
        logits: ``(B, K)``.
        indices: ``(B,)`` int64.

    Returns:
        ``(B,)`` in [0, 1], at least float32.

    Example:
        >>> import torch
        >>> confidences(torch.zeros(1, 4), torch.tensor([2])), confidences(torch.zeros(1, 1), torch.tensor([0]))
        (tensor([0.2500]), tensor([0.5000]))
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probability = wide.sigmoid() if wide.shape[1] == 1 else wide.softmax(dim=1)
    return probability.gather(1, indices[:, None])[:, 0]
