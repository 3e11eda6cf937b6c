"""Transforms from the prepared geometry back to the voxels of the file."""

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
    """Convert the logits ``pred`` of a prepared volume to a mask ``(1, X, Y, Z)`` on the voxels of its file, uint8.

    The logits are resampled before the arg-max. The class is a ``Compose``, since MONAI Label needs access to the
    single postprocessing steps of a bundle.

    Args:
        prepare: transforms that prepared the volume.
        gate: transform applied to the logits first, such as :class:`camtools.transforms.GateSlicesd`.
        largest_component: keep only the largest connected component of each class.
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
