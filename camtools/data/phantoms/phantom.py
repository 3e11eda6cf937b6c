"""What every kind of phantom is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "Phantom", "PhantomKind", "Photograph"]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Phantom:
    """A synthetic volume with the mask of its object.

    Attributes:
        image: voxels ``(X, Y, Z)``, int16, >= 0, arbitrary units; Z is the slice axis.
        mask: ``(X, Y, Z)``, uint8, 1 inside the object and 0 elsewhere.
        affine: voxel indices to scanner coordinates in mm, ``(4, 4)``, float64.

    Example:
        >>> mask = np.zeros((2, 2, 3), np.uint8)
        >>> mask[0, 1, 2] = 1
        >>> Phantom(mask.astype(np.int16), mask, np.eye(4)).slice_labels
        [0, 0, 1]
    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def slice_labels(self) -> list[int]:
        """Tag of every slice along the last axis: 1 where the mask has a voxel, else 0."""
        return [int(tag) for tag in np.any(self.mask, axis=(0, 1))]


@dataclass(frozen=True)
class Photograph:
    """A synthetic colour photograph with the mask of its objects: a volume of one slice.

    Attributes:
        image: RGB pixels ``(rows, columns, 3)``, uint8.
        mask: ``(rows, columns)``, uint8, 0 outside the objects and 1..n in them; objects that touch differ.

    Example:
        >>> Photograph(np.zeros((2, 2, 3), np.uint8), np.array([[0, 1], [2, 2]], np.uint8)).slice_labels
        [1]
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def slice_labels(self) -> list[int]:
        """Tag of the only slice: 1 where the mask has a pixel, else 0."""
        return [int(np.any(self.mask))]


@dataclass(frozen=True)
class PhantomKind:
    """An entry of the registry of phantoms.

    Attributes:
        label: name of the object its masks hold.
        description: one sentence for ``dataset.json``.
        build: draws one phantom; all its randomness comes from the generator it is given.

    Example:
        >>> flat = lambda rng: Phantom(np.ones((4, 4, 2), np.int16), np.zeros((4, 4, 2), np.uint8), np.eye(4))
        >>> PhantomKind("nothing", "Uniform volumes.", flat).build(np.random.default_rng(0)).image.shape
        (4, 4, 2)
    """

    label: str
    description: str
    build: Callable[[np.random.Generator], Phantom | Photograph]
