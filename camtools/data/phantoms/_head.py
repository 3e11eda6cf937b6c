"""The head on axial FLAIR: scalp, skull, folded cortex, white matter, deep grey matter and dark ventricles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camtools.data.phantoms._scene import (
    Scene,
    Tube,
    TubeFrame,
    band,
    ellipse,
    inside,
    paint,
    smooth_noise,
    tube_frame,
)
from camtools.data.phantoms.phantom import FloatArray

_SKULL_MM = 2.2
# FLAIR signal, about 0 (air, suppressed fluid) to 1 (fat).
_FLUID, _BONE, _WHITE, _CORTEX, _DEEP_GREY = 0.12, 0.09, 0.38, 0.52, 0.48


@dataclass(frozen=True)
class Head:
    """Outlines of a head whose first in-plane semi-axis points forward.

    Attributes:
        brain: the brain with the fluid around it, inside the skull.
        scalp: the outer skin.
        level: height of every slice in the brain, 0 (largest section) to 1 (vertex), ``(Z,)``; may start below 0.
    """

    brain: Tube
    scalp: Tube
    level: FloatArray


@dataclass(frozen=True)
class Brain:
    """A painted brain: where other parts may be added.

    Attributes:
        frame: its own coordinates: ``u`` forward, ``v`` sideways, on every slice.
        tissue: weight of brain tissue, 0 in fluid and outside, ``(X, Y, Z)``.
        ventricle: signed distance in mm to the lateral ventricles, negative inside, ``(X, Y, Z)``.
    """

    frame: TubeFrame
    tissue: FloatArray
    ventricle: FloatArray


def random_head(rng: np.random.Generator, slices: int) -> Head:
    """Draw a small head from the height of the ventricles to shortly below the vertex.

    Args:
        rng: random generator.
        slices: number of slices Z, from below to above.

    Returns:
        The outlines; the whole head fits into 96 x 112 mm with its motion and its warp.
    """
    level = np.linspace(rng.uniform(-0.35, -0.15), rng.uniform(0.68, 0.8), slices, dtype=np.float32)
    scale = np.sqrt(1 - np.clip(level, 0, 1) ** 2.5)
    radii = np.array([rng.uniform(41, 45), rng.uniform(33, 36)])
    angle = np.full(slices, np.pi / 2 + rng.uniform(-0.12, 0.12))
    centre = rng.uniform(-2.5, 2.5, 2) + level[:, None] * rng.uniform(-1.5, 1.5, 2)
    around = _SKULL_MM + rng.uniform(2.2, 4.0)
    return Head(
        Tube(centre, scale[:, None] * radii, angle), Tube(centre, scale[:, None] * radii + around, angle), level
    )


def paint_head(scene: Scene, head: Head, rng: np.random.Generator) -> Brain:
    """Paint scalp, skull and brain.

    Args:
        scene: painted in place.
        head: says where everything lies.
        rng: random generator.

    Returns:
        The brain, for lesions to be painted into.
    """
    scalp, frame = tube_frame(scene, head.scalp), tube_frame(scene, head.brain)
    shape = scene.image.shape
    fat = rng.uniform(0.6, 1.05) * (1 + 0.25 * smooth_noise(rng, shape, (12, 12, 1.5)))
    paint(scene.image, inside(scalp.distance), 0.35)
    paint(scene.image, inside(scalp.distance + 0.8), np.clip(fat, 0.3, 1.2))
    bone = np.clip(_BONE + 0.08 * smooth_noise(rng, shape, (9, 9, 1.5)), 0.05, 0.4)
    paint(scene.image, inside(frame.distance - _SKULL_MM), bone)
    paint(scene.image, inside(frame.distance), _FLUID)
    depth = _depth_below_surface(frame, head.level, rng)
    ventricle = _ventricle_distance(frame, head.level, rng)
    shade = 0.02 * smooth_noise(rng, shape, (4, 4, 1))
    tissue = inside(-depth) * (1 - inside(ventricle))
    value = np.full(shape, _WHITE, np.float32)
    paint(value, inside(depth - rng.uniform(2.2, 3.0), edge=0.8), _CORTEX)
    _paint_deep_grey(value, frame, head.level)
    paint(scene.image, inside(-depth), value + shade)
    paint(scene.image, inside(ventricle), _FLUID)
    return Brain(frame, tissue, ventricle)


def _depth_below_surface(frame: TubeFrame, level: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depth in mm below the folded surface of the two hemispheres, negative in the fluid around and between them."""
    shape = frame.u.shape
    rim = rng.uniform(0.6, 1.6)
    below_skull = -frame.distance - rim
    # The zero lines of a noise wind like furrows; they end about 10 mm below the skull.
    furrow = rng.uniform(3.0, 4.0) * np.abs(smooth_noise(rng, shape, (6, 6, 1.2))) - rng.uniform(0.2, 0.7)
    below_furrow = furrow + np.clip(below_skull - rng.uniform(6, 9), 0, None)
    bend = 0.8 * smooth_noise(rng, shape, (12, 12, 2))
    # Below the corpus callosum the hemispheres are joined in the middle.
    joined = 9 * np.clip(1 - np.abs(frame.u) / (0.5 * frame.radii[:, 0]), 0, 1) * (level < 0.42)
    below_fissure = np.abs(frame.v + bend) - 0.6 + joined
    depth: FloatArray = np.minimum(np.minimum(below_skull, below_furrow), below_fissure)
    return depth


def _ventricle_distance(frame: TubeFrame, level: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Signed distance in mm to the lateral ventricles: two slits that diverge from front and back horns."""
    long, short = frame.radii[:, 0], frame.radii[:, 1]
    size = rng.uniform(1.3, 2.6) * np.clip(1.25 - np.abs(level - 0.05) / 0.42, 0, 1)
    ends = np.abs(frame.u) / long
    width = size * (0.5 + 1.6 * np.clip(ends, 0, 0.55))
    side = rng.uniform(0.85, 1.15, 2)
    middle = short * (0.10 + 0.55 * ends**1.5) * np.where(frame.v > 0, side[0], side[1])
    beyond = np.abs(frame.u + 0.04 * long) - rng.uniform(0.42, 0.5) * long
    beside = np.abs(np.abs(frame.v) - middle) - width
    distance = np.hypot(np.maximum(beside, 0), np.maximum(beyond, 0)) + np.minimum(np.maximum(beside, beyond), 0)
    third = ellipse(frame, -0.05 * long, 0.0, 0.13 * long, 1.1)
    distance = np.where(level < 0.05, np.minimum(distance, third), distance)
    absent: FloatArray = np.where(size > 0.4, distance, np.float32(1000)).astype(np.float32)
    return absent


def _paint_deep_grey(value: FloatArray, frame: TubeFrame, level: FloatArray) -> None:
    """Paint thalami and basal ganglia beside the ventricles, on the lower slices."""
    long, short = frame.radii[:, 0], frame.radii[:, 1]
    low = np.float32(1.0) * (level < 0.18)
    for side in (-1, 1):
        thalamus = ellipse(frame, -0.12 * long, side * 0.2 * short, 0.17 * long, 0.15 * short)
        putamen = ellipse(frame, 0.15 * long, side * 0.45 * short, 0.26 * long, 0.11 * short)
        for nucleus in (thalamus, putamen):
            paint(value, low * inside(nucleus, edge=1.2), _DEEP_GREY)
    capsule = band(ellipse(frame, 0.0, 0.0, 0.45 * long, 0.55 * short), -1.0, 0.5)
    paint(value, 0.3 * low * capsule, _WHITE - 0.05)
