"""The mother: abdominal wall, bowel and bladder, the womb with its placenta, and round masses as large as a head."""

from __future__ import annotations

import numpy as np

from camtools.data.phantoms._fetus import Fetus
from camtools.data.phantoms._scene import (
    Scene,
    Tube,
    inside,
    paint,
    profile,
    random_tube,
    smooth_noise,
    tube_frame,
)
from camtools.data.phantoms.phantom import FloatArray

# T2 signal relative to fluid.
_FLUID, _FAT, _MUSCLE, _WALL, _PLACENTA, _MASS = 0.92, 0.78, 0.26, 0.36, 0.55, 0.56


def paint_abdomen(scene: Scene, rng: np.random.Generator) -> None:
    """Paint muscle, fat and loops of bowel, and on one side the abdominal wall with fat and air beyond."""
    shape = scene.image.shape
    layers = smooth_noise(rng, shape, (22, 22, 2.5)) + 0.25 * smooth_noise(rng, shape, (6, 6, 1.5))
    scene.image[...] = 0.5 + 0.06 * smooth_noise(rng, shape, (3, 3, 1))
    paint(scene.image, inside(layers - 0.1, edge=0.2), _MUSCLE)
    paint(scene.image, inside(layers + 0.9, edge=0.2), _FAT)
    paint(scene.image, inside(np.abs(layers - 0.8) - 0.12, edge=0.1), 0.15)
    for _ in range(int(rng.integers(8, 13))):
        _paint_bowel(scene, rng)
    direction = rng.uniform(0, 2 * np.pi)
    outward = np.cos(direction) * scene.x + np.sin(direction) * scene.y
    reach = 0.43 * (abs(np.cos(direction)) * shape[0] + abs(np.sin(direction)) * shape[1])
    skin = outward + 3 * smooth_noise(rng, shape, (40, 40, 6)) - np.float32(reach)
    for depth, signal in ((13, 0.2), (8, _FAT), (0, 0.02)):
        paint(scene.image, inside(-skin - depth), signal)


def _paint_bowel(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a loop of bowel: grey feathery wall, dark (gas) or bright (fluid) content."""
    frame = tube_frame(scene, random_tube(scene, rng, half_mm=(10, 40), radius_mm=(6, 12), bend=0.8))
    image = scene.image[:, :, frame.slices]
    wall = 0.5 + 0.12 * np.sin(9 * frame.polar)
    paint(image, inside(frame.distance), wall)
    paint(image, inside(frame.distance + 3), float(rng.choice([0.06, 0.4, 0.85])))


def womb_distance(scene: Scene, fetus: Fetus, rng: np.random.Generator) -> FloatArray:
    """Draw the outline of the womb, which gives way to the fetus.

    Args:
        scene: not painted.
        fetus: lies inside with at least 3 mm of fluid around.
        rng: random generator.

    Returns:
        Signed distance in mm to the inside of the womb's wall, negative inside, ``(X, Y, Z)``.
    """
    size_x, size_y, size_z = scene.image.shape
    length = float(scene.z[-1] - scene.z[0])
    centre = rng.uniform(-0.08, 0.08, 2) * (size_x, size_y) + scene.z[:, None] * rng.uniform(-0.1, 0.1, 2)
    radii = rng.uniform(0.34, 0.43, 2) * (size_x, size_y)
    scale = profile(scene.z, length * rng.uniform(-0.15, 0.15), length * rng.uniform(0.5, 0.65), power=3)
    angle = np.full(size_z, rng.uniform(-0.4, 0.4))
    distance = np.full(scene.image.shape, 1000, np.float32)
    for tube, margin in ((Tube(centre, scale[:, None] * radii, angle), 0), (fetus.head, 3), (fetus.trunk, 3)):
        frame = tube_frame(scene, tube)
        shown = distance[:, :, frame.slices]
        np.minimum(shown, frame.distance - margin, out=shown)
    return distance + 1.5 * smooth_noise(rng, scene.image.shape, (16, 16, 2))


def paint_womb(scene: Scene, distance: FloatArray, rng: np.random.Generator) -> None:
    """Paint the wall of the womb, the fluid, and a placenta of the brain's own grey along one side of the wall."""
    shape = scene.image.shape
    paint(scene.image, inside(distance - rng.uniform(2.5, 5)), _WALL)
    flow = np.clip(smooth_noise(rng, shape, (10, 10, 1)) - 0.6, 0, 1)
    paint(scene.image, inside(distance), _FLUID - 0.3 * flow)
    direction = rng.uniform(0, 2 * np.pi) + scene.z * rng.uniform(-0.008, 0.008)
    around = np.cos(np.arctan2(scene.y, scene.x) - direction)
    lobes = 2.0 * smooth_noise(rng, shape, (9, 9, 1.5))
    thickness = rng.uniform(15, 28) * np.clip(1.3 * around + 0.2, 0, 1) + lobes
    placenta = _PLACENTA + 0.05 * smooth_noise(rng, shape, (5, 5, 1)) + 0.03 * smooth_noise(rng, shape, (2, 2, 1))
    paint(scene.image, inside(distance) * inside(-distance - thickness), placenta)


def paint_masses(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a fibroid or two: as large, round and grey as a head and with a dark rim too, but without folds."""
    for _ in range(int(rng.integers(1, 3))):
        tube = random_tube(scene, rng, half_mm=(13, 26), radius_mm=(14, 23), bend=0.2)
        frame = tube_frame(scene, tube)
        image = scene.image[:, :, frame.slices]
        paint(image, inside(frame.distance), 0.2)
        paint(image, inside(frame.distance + 1.8), 0.8)
        texture = _MASS + 0.06 * smooth_noise(rng, image.shape, (6, 6, 1))
        paint(image, inside(frame.distance + rng.uniform(2.5, 4)), texture)


def paint_bladder(scene: Scene, rng: np.random.Generator) -> None:
    """Paint the bladder: a large bright oval with a dark wall."""
    frame = tube_frame(scene, random_tube(scene, rng, half_mm=(15, 35), radius_mm=(12, 24), bend=0.3))
    image = scene.image[:, :, frame.slices]
    paint(image, inside(frame.distance), 0.2)
    paint(image, inside(frame.distance + 2.5), 0.97)
