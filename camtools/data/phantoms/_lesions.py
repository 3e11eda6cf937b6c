"""Bright things in the brain: the tumour, and what is as bright but no tumour (caps, spots, a vessel)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camtools.data.phantoms._head import Brain
from camtools.data.phantoms._scene import Scene, ellipse, inside, paint, profile, smooth_noise
from camtools.data.phantoms.phantom import FloatArray

# Share of a slice's pixels below which a section of the tumour is not painted, so that every tag is fair.
_SMALLEST_SHARE = 0.009
# FLAIR signal of brain tissue, white and grey, on average.
_BRAIN = 0.43


def paint_look_alikes(scene: Scene, brain: Brain, rng: np.random.Generator) -> None:
    """Paint caps at the horns of the ventricles, small white-matter spots and a bright vessel, on any slice.

    Args:
        scene: painted in place.
        brain: as painted before.
        rng: random generator.
    """
    frame, shape = brain.frame, scene.image.shape
    long = frame.radii[:, 0]
    horns = inside(0.36 * long - np.abs(frame.u), edge=3.0)
    reach = rng.uniform(0.8, 2.6) * np.clip(1 + 0.6 * smooth_noise(rng, shape, (7, 7, 1.5)), 0.2, 2)
    caps = brain.tissue * horns * inside(brain.ventricle - reach, edge=1.0)
    paint(scene.image, caps, rng.uniform(0.6, 0.95))
    for _ in range(int(rng.integers(1, 6))):
        u, v = rng.uniform(-0.6, 0.6, 2)
        k = int(rng.integers(shape[2]))
        spot = inside(ellipse(frame, u * long, v * frame.radii[:, 1], *rng.uniform(1.0, 2.2, 2)), edge=0.8)[:, :, k]
        paint(scene.image[:, :, k], brain.tissue[:, :, k] * spot, rng.uniform(0.6, 0.95))
    _paint_vessel(scene, brain, rng)


def _paint_vessel(scene: Scene, brain: Brain, rng: np.random.Generator) -> None:
    """Paint one bright vessel near the brain's surface, or along its midline at the back, over a few slices."""
    frame = brain.frame
    towards = rng.choice([np.pi, 0.45 * np.pi, -0.45 * np.pi]) + rng.uniform(-0.15, 0.15)
    radius = profile(scene.z, float(rng.choice(scene.z)), float(rng.uniform(0.3, 0.6)) * float(np.ptp(scene.z)))
    u, v = 0.86 * np.cos(towards) * frame.radii[:, 0], 0.86 * np.sin(towards) * frame.radii[:, 1]
    for k in np.flatnonzero(radius > 0):
        size = max(1.2, float(radius[k] * rng.uniform(1.8, 3.0)))
        paint(scene.image[:, :, k], inside(ellipse(frame, u, v, size, size)[:, :, k]), rng.uniform(0.9, 1.15))


def paint_tumour(scene: Scene, brain: Brain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a tumour: lobes with a ragged outline, a bright core, a softer rim of oedema, sometimes a dark centre.

    Args:
        scene: painted in place.
        brain: as painted before; the tumour keeps to its tissue and stays clear of the ventricles.
        rng: random generator.

    Returns:
        Mask ``(X, Y, Z)``: 1 in core, centre and oedema. A fifth to a half of the slices show it, each with about
        1 to 8 % of its pixels.
    """
    shape = scene.image.shape
    distance = _tumour_distance(scene, brain, rng)
    # Oedema follows the white matter: it closes furrows it grows over, but fluid of the ventricles stays.
    room = inside(brain.frame.distance + 1.5) * (1 - inside(brain.ventricle))
    mask = (distance < 0) & (room > 0.5)
    mask &= mask.mean(axis=(0, 1)) > _SMALLEST_SHARE
    room *= mask.any(axis=(0, 1))
    core = rng.uniform(0.78, 1.0)
    oedema = _BRAIN + rng.uniform(0.35, 0.75) * (core - _BRAIN)
    rim = rng.uniform(2.0, 6.0) * np.clip(1 + 0.6 * smooth_noise(rng, shape, (8, 8, 1.5)), 0.1, 2.2)
    texture = 0.05 * smooth_noise(rng, shape, (3, 3, 1))
    paint(scene.image, room * inside(distance, edge=1.4), oedema + texture)
    paint(scene.image, room * inside(distance + rim, edge=1.2), core + 1.4 * texture)
    if rng.random() < 0.35:
        centre = distance + rim + rng.uniform(3.0, 5.0)
        paint(scene.image, room * inside(centre, edge=1.0), rng.uniform(0.2, 0.5))
    return mask.astype(np.uint8)


def _tumour_distance(scene: Scene, brain: Brain, rng: np.random.Generator) -> FloatArray:
    """Signed distance in mm, roughly, to the tumour's ragged outline, ``(X, Y, Z)``; 1000 on slices without it."""
    shape, frame = scene.image.shape, brain.frame
    size_z = shape[2]
    count = int(np.clip(round(size_z * rng.uniform(0.25, 0.5)), 2, size_z - 2))
    first = int(rng.integers(0, size_z - count + 1))
    shown = slice(first, first + count)
    spacing = float(scene.z[1] - scene.z[0])
    middle = float(scene.z[first]) + spacing * (count - 1) / 2
    # A steep profile: the outermost sections keep about three quarters of the largest radius.
    section = profile(scene.z, middle, spacing * (count + 0.7) / 2, power=3.5)
    radius = rng.uniform(9.5, 18.0) * np.maximum(section, np.float32(0.1))
    towards, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.65)
    long, short = frame.radii[shown].min(axis=0)
    u, v = far * long * np.cos(towards), far * short * np.sin(towards)
    v += 0.12 * short * (1 if v > 0 else -1)
    distance = np.full(shape, 1000, np.float32)
    for lobe in range(int(rng.integers(2, 5))):
        turn, away = rng.uniform(0, 2 * np.pi), (rng.uniform(0.4, 0.7) if lobe else 0.0) * radius
        sizes = rng.uniform(0.5, 0.85, 2)[:, None] * radius
        np.minimum(distance, ellipse(frame, u + away * np.cos(turn), v + away * np.sin(turn), *sizes), out=distance)
    distance += rng.uniform(1.0, 2.0) * smooth_noise(rng, shape, (7, 7, 1.5))
    distance += 0.6 * smooth_noise(rng, shape, (3, 3, 1))
    distance[:, :, :first] = distance[:, :, first + count :] = 1000
    return distance
