"""Phantoms of kind ``tumour``: a brain tumour on axial FLAIR slices of a small head."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from camtools.data.phantoms._head import paint_head, random_head
from camtools.data.phantoms._lesions import paint_look_alikes, paint_tumour
from camtools.data.phantoms._scanner import acquire, random_motion
from camtools.data.phantoms._scene import empty_scene, warp
from camtools.data.phantoms.phantom import Phantom, PhantomKind

__all__ = ["TUMOUR", "build_tumour"]

_SLICE_SPACING_MM = 5.0


def build_tumour(rng: np.random.Generator) -> Phantom:
    """Draw one head with a tumour on a part of its slices.

    In-plane pixels are 1 mm wide and slices 5 mm apart, as is usual for FLAIR; the head is small, so that a classifier
    learns from it on a CPU. Core and oedema are brighter than the brain, but so are scalp fat, the caps of the
    ventricles, white-matter spots and a vessel, with or without a tumour on the slice.

    Args:
        rng: random generator.

    Returns:
        A phantom of 100 to 112 pixels along the head's width, 112 to 124 along its length and 8 to 12 slices, stored
        in any in-plane order and direction of the slices; the mask holds core and oedema. A fifth to a half of the
        slices show it.

    Example:
        >>> phantom = build_tumour(np.random.default_rng(0))
        >>> phantom.image.shape == phantom.mask.shape, sorted(set(phantom.slice_labels))
        (True, [0, 1])
    """
    shape = (int(rng.integers(50, 57)) * 2, int(rng.integers(56, 63)) * 2, int(rng.integers(8, 13)))
    motion = random_motion(rng, shape[2], shift_mm=0.4, degrees=1.0)
    scene = warp(empty_scene(shape, _SLICE_SPACING_MM, motion), rng)
    brain = paint_head(scene, random_head(rng, shape[2]), rng)
    paint_look_alikes(scene, brain, rng)
    mask = paint_tumour(scene, brain, rng)
    return _stored(acquire(rng, scene.image), mask, rng)


def _stored(image: NDArray[np.int16], mask: NDArray[np.uint8], rng: np.random.Generator) -> Phantom:
    """Give a volume painted right, front, up the affine of a tilted head, in a random order and direction of axes."""
    axis = rng.standard_normal(3)
    tilt = Rotation.from_rotvec(axis * (rng.uniform(0.05, 0.3) / np.linalg.norm(axis))).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = tilt * np.array([1.0, 1.0, _SLICE_SPACING_MM])
    affine[:3, 3] = rng.uniform(-20, 20, 3) - affine[:3, :3] @ ((np.array(image.shape) - 1) / 2)
    order = [*rng.permutation(2), 2]
    stored = np.stack([order, rng.choice([-1, 1], 3)], axis=1)
    image, mask = (nib.orientations.apply_orientation(part, stored) for part in (image, mask))
    painted_shape = tuple(image.shape[axis] for axis in order)
    affine = affine @ nib.orientations.inv_ornt_aff(stored, painted_shape)
    return Phantom(np.ascontiguousarray(image), np.ascontiguousarray(mask), affine)


TUMOUR = PhantomKind(
    label="tumour",
    description="Synthetic axial FLAIR volumes of a small head with a brain tumour on a part of the slices.",
    build=build_tumour,
)
