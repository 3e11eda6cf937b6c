"""From the prepared geometry back to the voxels of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.transforms import (
    AsDiscreted,
    CastToTyped,
    Compose,
    Invertd,
    InvertibleTransform,
    KeepLargestConnectedComponentd,
)

__all__ = ["FinishPredictiond", "invert_prepared"]


def invert_prepared(keys: Sequence[str], prepare: InvertibleTransform) -> Invertd:
    """Transform that undoes the geometry of ``prepare`` for results ``(K, X, Y, Z)`` under ``keys``.

    Values are interpolated linearly, since results are maps, probabilities or logits.
    """
    return Invertd(keys=list(keys), transform=prepare, orig_keys="image", nearest_interp=False)


class FinishPredictiond(Compose):  # type: ignore[misc]
    """Logits of a prepared volume under ``pred`` to a mask ``(1, X, Y, Z)`` on the voxels of its file, uint8.

    The logits are resampled back before the class with the largest one is taken. It is a ``Compose``, since MONAI Label
    takes the postprocessing of a bundle apart.

    Args:
        prepare: transforms that prepared the volume.
        gate: transform applied to the logits first, such as :class:`camtools.transforms.GateSlicesd`.
        largest_component: keep the largest connected component of each class alone.
    """

    def __init__(
        self,
        prepare: InvertibleTransform,
        gate: Callable[[Any], Any] | None = None,
        largest_component: bool = False,
    ) -> None:
        steps: list[Callable[[Any], Any]] = [] if gate is None else [gate]
        steps += [invert_prepared(["pred"], prepare), AsDiscreted("pred", argmax=True)]
        if largest_component:
            steps.append(KeepLargestConnectedComponentd("pred"))
        super().__init__([*steps, CastToTyped("pred", dtype=torch.uint8)])
