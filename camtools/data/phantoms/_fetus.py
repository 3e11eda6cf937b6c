"""The fetus: where it lies, and its head, trunk and limbs (the brain itself is in ``_brain_tissue``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camtools.data.phantoms._scene import (
    Scene,
    Tube,
    band,
    ellipse,
    inside,
    paint,
    profile,
    random_tube,
    smooth_noise,
    tube_frame,
)
from camtools.data.phantoms.phantom import FloatArray

_SKULL_MM, _SCALP_MM = 1.8, 1.6
# T2 signal relative to fluid.
_FLUID, _BONE, _SKIN, _FLESH, _LIVER = 0.92, 0.16, 0.50, 0.48, 0.34


@dataclass(frozen=True)
class Fetus:
    """Outlines of the parts of a fetus.

    Attributes:
        brain: the brain with its rim of fluid, inside the skull: what the mask holds.
        head: the scalp; continues below the brain for a few slices, which show the face.
        trunk: the trunk's skin.
        level: height of every slice in the brain, -1 (base) to 1 (vertex), other values outside, ``(Z,)``.
    """

    brain: Tube
    head: Tube
    trunk: Tube
    level: FloatArray


def random_fetus(rng: np.random.Generator, z: FloatArray, field_mm: tuple[int, int]) -> Fetus:
    """Draw size and position of a fetus whose brain shows on about a quarter of the slices.

    Args:
        rng: random generator.
        z: slice positions in mm, equally spaced, ``(Z,)``.
        field_mm: size of the field of view along x and y in mm.

    Returns:
        The outlines, with the whole brain within the field of view.
    """
    spacing = float(z[1] - z[0])
    count = max(3, round(z.size * rng.uniform(0.21, 0.30)))
    first = int(rng.integers(1, z.size - count))
    middle = float(z[first]) + spacing * ((count - 1) / 2 + rng.uniform(-0.2, 0.2))
    half = spacing * count / 2
    # The trunk lies where the stack has more room.
    down = -1.0 if middle > 0 else 1.0
    radii = np.array([rng.uniform(21, 25), rng.uniform(17.5, 20)], np.float32)
    room = np.array(field_mm) / 2 - radii[0] - 7
    centre = rng.uniform(-1, 1, 2) * room + (z - middle)[:, None] * rng.uniform(-0.08, 0.08, 2)
    angle = rng.uniform(0, 2 * np.pi) + (z - middle) * rng.uniform(-0.006, 0.006)
    brain = Tube(centre, profile(z, middle, half)[:, None] * radii, angle)
    face = spacing * rng.uniform(1.6, 3.0)
    head_scale = profile(z, middle + down * face / 2, half + face / 2, power=3.5)
    head = Tube(centre, head_scale[:, None] * (radii + _SKULL_MM + _SCALP_MM), angle)
    trunk = _random_trunk(rng, z, centre, middle + down * (half + face), down)
    return Fetus(brain, head, trunk, (-down * (z - middle) / half).astype(np.float32))


def _random_trunk(rng: np.random.Generator, z: FloatArray, head: FloatArray, neck: float, down: float) -> Tube:
    """Draw a trunk that runs from the neck (mm) along ``down`` and bends away from the head's centres ``(Z, 2)``."""
    half = rng.uniform(30, 42)
    direction, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.3)
    bend = np.array([np.cos(direction), np.sin(direction)]) * slope
    centre = head * 0.7 + np.abs(z - neck)[:, None] * bend
    radii = np.array([rng.uniform(20, 25), rng.uniform(17, 21)])
    angle = np.full(z.shape, rng.uniform(0, 2 * np.pi))
    return Tube(centre, profile(z, neck + down * half, half, power=3.5)[:, None] * radii, angle)


def paint_trunk(scene: Scene, trunk: Tube, rng: np.random.Generator) -> None:
    """Paint the trunk: skin, ribs, spine with its bright cord, liver, and fluid-filled stomach and bladder."""
    frame = tube_frame(scene, trunk)
    image = scene.image[:, :, frame.slices]
    paint(image, inside(frame.distance), _SKIN)
    texture = _FLESH + 0.07 * smooth_noise(rng, image.shape, (4, 4, 1))
    paint(image, inside(frame.distance + 1.5), texture)
    ribs = band(frame.distance, -5.0, -2.8) * (np.cos(11 * frame.polar + 0.5 * frame.u) > 0.2)
    paint(image, ribs, 0.2)
    long, short = frame.radii[:, 0], frame.radii[:, 1]
    within = inside(frame.distance + 4)
    paint(image, within * inside(ellipse(frame, 0.25 * long, -0.2 * short, 0.5 * long, 0.45 * short)), _LIVER)
    for _ in range(3):
        u, v = rng.uniform(-0.6, 0.6, 2)
        size = rng.uniform(2.5, 6.5, 2)
        shown = inside(np.abs(np.arange(long.size) - rng.uniform(0, long.size)) - 1)
        paint(image, within * shown * inside(ellipse(frame, u * long, v * short, size[0], size[1])), _FLUID)
    paint(image, inside(ellipse(frame, -0.62 * long, 0.0, 5.5, 6.0)), _BONE)
    paint(image, inside(ellipse(frame, -0.70 * long, 0.0, 2.2, 2.6)), 0.85)
    paint(image, inside(ellipse(frame, -0.45 * long, 0.0, 3.0, 4.0)), 0.42)


def paint_limbs(scene: Scene, cavity: FloatArray, rng: np.random.Generator) -> None:
    """Paint arms and legs, short tubes with a dark bone, where ``cavity`` (a weight, ``(X, Y, Z)``) leaves room."""
    for _ in range(int(rng.integers(9, 15))):
        frame = tube_frame(scene, random_tube(scene, rng, half_mm=(8, 20), radius_mm=(4, 8), bend=0.8))
        image, room = scene.image[:, :, frame.slices], cavity[:, :, frame.slices]
        paint(image, room * inside(frame.distance), _FLESH)
        paint(image, room * inside(ellipse(frame, 0, 0, 2.6, 2.2)), _BONE)


def paint_head(scene: Scene, fetus: Fetus, rng: np.random.Generator) -> None:
    """Paint scalp, skull and, below the brain, the face with two bright eyes."""
    frame = tube_frame(scene, fetus.head)
    image = scene.image[:, :, frame.slices]
    paint(image, inside(frame.distance), _SKIN)
    paint(image, inside(frame.distance + _SCALP_MM), _skull(rng, image.shape))
    texture = 0.36 + 0.11 * smooth_noise(rng, image.shape, (3, 3, 1))
    paint(image, inside(frame.distance + _SCALP_MM + _SKULL_MM), texture)
    eyes = inside(np.abs(fetus.level[frame.slices] + 1.35) - 0.3, edge=0.1)
    long, short = frame.radii[:, 0], frame.radii[:, 1]
    for side in (-1, 1):
        paint(image, eyes * inside(ellipse(frame, 0.5 * long, side * 0.42 * short, 4.6, 4.6)), _FLUID)
        paint(image, eyes * inside(ellipse(frame, 0.62 * long, side * 0.42 * short, 1.3, 1.8)), 0.3)
    brain = tube_frame(scene, fetus.brain)
    bone = _skull(rng, brain.distance.shape)
    paint(scene.image[:, :, brain.slices], inside(brain.distance - _SKULL_MM), bone)


def _skull(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Signal of the skull, ``shape``: dark, with thin places where it fades, as bone averages with its surroundings."""
    signal: FloatArray = np.clip(_BONE + 0.14 * smooth_noise(rng, shape, (9, 9, 1.5)), 0.08, 0.5)
    return signal
