"""The fetal brain in the second half of pregnancy: folded cortex, white matter, ventricles and the fluid around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camtools.data.phantoms._fetus import Fetus
from camtools.data.phantoms._scene import Scene, TubeFrame, ellipse, inside, paint, smooth_noise, tube_frame
from camtools.data.phantoms.phantom import FloatArray

# T2 signal relative to fluid.
_FLUID, _WHITE, _CORTEX, _DEEP_GREY = 0.90, 0.60, 0.46, 0.50


def paint_brain(scene: Scene, fetus: Fetus, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint the brain.

    Args:
        scene: painted in place.
        fetus: says where the brain lies.
        rng: random generator.

    Returns:
        Mask ``(X, Y, Z)``: 1 in the brain and its rim of fluid, up to the inside of the skull.
    """
    frame = tube_frame(scene, fetus.brain)
    level = fetus.level[frame.slices]
    depth = _depth_below_surface(frame, level, rng)
    shade = 0.025 * smooth_noise(rng, depth.shape, (5, 5, 1))
    tissue = np.full(depth.shape, _WHITE, np.float32) + shade
    paint(tissue, inside(depth - 2.2), _CORTEX + shade)
    _paint_inner(tissue, frame, level, rng)
    fluid = _FLUID - 0.1 * np.abs(smooth_noise(rng, depth.shape, (8, 8, 1)))
    paint(tissue, inside(depth), fluid)
    paint(scene.image[:, :, frame.slices], inside(frame.distance), tissue)
    mask = np.zeros(scene.image.shape, np.uint8)
    mask[:, :, frame.slices] = frame.distance < 0
    return mask


def _depth_below_surface(frame: TubeFrame, level: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Depth in mm below the folded surface of the two hemispheres, negative in the fluid around and between them."""
    phase = rng.uniform(0, 2 * np.pi, 4)
    angle = frame.polar
    warped = angle + 0.25 * np.sin(2 * angle + phase[0]) + 0.15 * np.sin(3 * angle + phase[1] + 1.5 * level)
    # |cos| has cusps: narrow furrows between round gyri, as on a real outline.
    furrow = (1 - np.abs(np.cos(int(rng.integers(5, 8)) * warped + level))) ** 3
    reach = rng.uniform(4.5, 7.0) * (0.6 + 0.4 * np.sin(4 * angle + phase[2] + level))
    sylvian = 7 * np.exp(-(((np.abs(angle) - 1.3) / 0.16) ** 2)) * (np.abs(level) < 0.6)
    rim = rng.uniform(2.0, 2.8) + 0.6 * np.sin(angle + phase[3])
    below_outline = -frame.distance - rim - np.maximum(reach * furrow, sylvian)
    # Deep nuclei join the hemispheres in the middle, but not near the vertex.
    joined = 7 * np.clip(1 - np.abs(frame.u) / (0.38 * frame.radii[:, 0]), 0, 1) * (level < 0.45)
    below_fissure = np.abs(frame.v) - 0.9 + joined
    depth: FloatArray = np.minimum(below_outline, below_fissure)
    return depth


def _paint_inner(tissue: FloatArray, frame: TubeFrame, level: FloatArray, rng: np.random.Generator) -> None:
    """Paint deep nuclei and lateral ventricles on the slices that hold them."""
    long, short = frame.radii[:, 0], frame.radii[:, 1]
    central = np.abs(level) < 0.5
    paint(tissue, central * inside(ellipse(frame, 0.0, 0.0, 0.3 * long, 0.34 * short)), _DEEP_GREY)
    # The ventricles diverge and widen from their frontal horns to the back.
    back = np.clip(0.5 - frame.u / long, 0, 1.1)
    width = rng.uniform(1.3, 2.4) * np.clip(1.3 - np.abs(level - 0.1) / 0.6, 0, 1) * (0.5 + 0.8 * back)
    arch = np.abs(frame.v) - short * (0.15 + 0.33 * back)
    span = inside(np.abs(frame.u + 0.08 * long) - 0.5 * long)
    paint(tissue, span * inside(np.abs(arch) - width) * (width > 0.3), _FLUID)
    cerebellum = ellipse(frame, -0.52 * long, 0.0, 0.34 * long, 0.55 * short)
    low = level < -0.35
    paint(tissue, low * inside(cerebellum - 1.5), _FLUID)
    paint(tissue, low * inside(cerebellum), 0.5 + 0.06 * np.sin(2.0 * frame.u))
