"""Transforms from the prepared geometry back to the voxels of the file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import (
    CastToTyped,
    Compose,
    Invertd,
    InvertibleTransform,
    KeepLargestConnectedComponentd,
    MapTransform,
)
from monai.utils import convert_to_dst_type

__all__ = ["FinishPredictiond", "LargestLogitd", "invert_prepared"]


def invert_prepared(keys: Sequence[str], prepare: InvertibleTransform) -> Invertd:
    """Transform that undoes the geometry of ``prepare`` for results ``(K, X, Y, Z)`` under ``keys``.

    Values are interpolated linearly, since results are maps, probabilities or logits.
    """
    return Invertd(keys=list(keys), transform=prepare, orig_keys="image", nearest_interp=False)


def largest_logit(logits: torch.Tensor) -> torch.Tensor:
    """Number of the largest logit of every voxel, the first one of equal logits.

    It equals ``logits.argmax(dim=0, keepdim=True)`` for finite logits, in the type of the logits. On a CPU, torch's
    argmax over the first of several axes takes tens of times as long as comparisons.

    Args:
        logits: ``(K, *spatial)``.

    Returns:
        ``(1, *spatial)``, whole numbers from 0 to K - 1.

    Example:
        >>> largest_logit(torch.tensor([[0.0, 2.0, 1.0], [1.0, 2.0, 0.0], [0.5, 2.0, 3.0]]))
        tensor([[1., 0., 2.]])
    """
    if len(logits) == 2:
        return (logits[1:] > logits[:1]).to(logits.dtype)
    largest, number = logits[:1], torch.zeros_like(logits[:1])
    for index in range(1, len(logits)):
        number.masked_fill_(logits[index : index + 1] > largest, index)
        largest = torch.maximum(largest, logits[index : index + 1])
    return number


class LargestLogitd(MapTransform):
    """Convert logits ``(K, X, Y, Z)`` to the class of every voxel ``(1, X, Y, Z)``, in the same type.

    It gives the result of MONAI's ``AsDiscreted(keys, argmax=True)`` for finite logits: the first of equal logits wins.

    Args:
        keys: logits.
        allow_missing_keys: skip keys that an item does not have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the logits of each key."""
        result = dict(data)
        for key in self.key_iterator(result):
            logits = result[key]
            classes = largest_logit(torch.as_tensor(logits).as_subclass(torch.Tensor))
            result[key] = convert_to_dst_type(classes, logits)[0]
        return result


class FinishPredictiond(Compose):  # type: ignore[misc]
    """Convert the logits ``pred`` of a prepared volume to a mask ``(1, X, Y, Z)`` on the voxels of its file, uint8.

    The logits, or probabilities, are resampled before they become classes. The class is a ``Compose``, since
    MONAI Label needs access to the single postprocessing steps of a bundle.

    Args:
        prepare: transforms that prepared the volume.
        gate: transform applied to the logits first, such as :class:`camtools.transforms.GateSlicesd`.
        largest_component: keep only the largest connected component of each class.
        to_classes: transform from ``pred`` ``(K, X, Y, Z)`` to classes ``(1, X, Y, Z)``; None: the class with the
            largest logit.
    """

    def __init__(
        self,
        prepare: InvertibleTransform,
        gate: Callable[[Any], Any] | None = None,
        largest_component: bool = False,
        to_classes: Callable[[Any], Any] | None = None,
    ) -> None:
        steps: list[Callable[[Any], Any]] = [] if gate is None else [gate]
        steps += [invert_prepared(["pred"], prepare), to_classes or LargestLogitd("pred")]
        if largest_component:
            steps.append(KeepLargestConnectedComponentd("pred"))
        super().__init__([*steps, CastToTyped("pred", dtype=torch.uint8)])
