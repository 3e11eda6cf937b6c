"""Phantoms of kind ``fetal_brain``: a fetal brain in a thick-slice T2-weighted stack of the mother's abdomen."""

from __future__ import annotations

import numpy as np

from camtools.data.phantoms._brain_tissue import paint_brain
from camtools.data.phantoms._fetus import paint_head, paint_limbs, paint_trunk, random_fetus
from camtools.data.phantoms._mother import paint_abdomen, paint_bladder, paint_masses, paint_womb, womb_distance
from camtools.data.phantoms._scanner import SLICE_SPACING_MM, acquire, random_affine, random_motion
from camtools.data.phantoms._scene import empty_scene, inside, warp
from camtools.data.phantoms.phantom import Phantom, PhantomKind

__all__ = ["FETAL_BRAIN", "build_fetal_brain"]


def build_fetal_brain(rng: np.random.Generator) -> Phantom:
    """Draw one fetal brain among tissues of its own grey.

    In-plane pixels are 1 mm wide and slices 6.5 mm apart, as in the stacks of the UM-CAM paper (section 3.1), where
    about a quarter of the slices show the brain. Its folds and skull tell it from the rest; its intensity does not:
    placenta, trunk and fibroids share its grey, and fluid, fat and bladder are as bright as its ventricles.

    Args:
        rng: random generator.

    Returns:
        A phantom of 80 to 112 pixels (X and Y differ) and 16 to 24 slices; the mask holds the brain and the fluid
        around it up to the skull.

    Example:
        >>> phantom = build_fetal_brain(np.random.default_rng(0))
        >>> phantom.image.shape == phantom.mask.shape, sum(phantom.slice_labels)
        (True, 4)
    """
    size_x, size_y = (int(size) for size in rng.choice(np.arange(80, 113, 2), 2, replace=False))
    size_z = int(rng.integers(16, 25))
    motion = random_motion(rng, size_z, shift_mm=0.8, degrees=2.0)
    scene = warp(empty_scene((size_x, size_y, size_z), SLICE_SPACING_MM, motion), rng)
    fetus = random_fetus(rng, scene.z, (size_x, size_y))
    womb = womb_distance(scene, fetus, rng)
    paint_abdomen(scene, rng)
    paint_bladder(scene, rng)
    paint_womb(scene, womb, rng)
    paint_masses(scene, rng)
    paint_limbs(scene, inside(womb), rng)
    paint_trunk(scene, fetus.trunk, rng)
    paint_head(scene, fetus, rng)
    mask = paint_brain(scene, fetus, rng)
    return Phantom(acquire(rng, scene.image), mask, random_affine(rng, (size_x, size_y, size_z)))


FETAL_BRAIN = PhantomKind(
    label="brain",
    description="Synthetic thick-slice T2-weighted stacks with a fetal brain on about a quarter of the slices.",
    build=build_fetal_brain,
)
