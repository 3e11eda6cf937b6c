"""The glands: epithelium with a ring of nuclei, goblet cells with pale vacuoles, and the lumen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from camtools.data.phantoms._scene import inside, smooth_noise
from camtools.data.phantoms._tissue import EMPTY, Tissue, at, cells, direction, dye, dye_nuclei, scatter
from camtools.data.phantoms.phantom import FloatArray

# Haematoxylin and eosin of what a lumen may hold: nothing, mucus, secretion.
_CONTENTS = (EMPTY, (0.14, 0.10), (0.08, 0.50))
_VACUOLE = (0.10, 0.10)


def paint_glands(tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint every gland of a section.

    Args:
        tissue: painted in place.
        rng: random generator.
    """
    count = int(tissue.glands.max())
    goblets = rng.random(count + 1) < rng.choice([0.05, 0.5, 0.95])
    thickness = _thickness(tissue, goblets, rng)
    within = inside(-tissue.depth)
    shade = 1 + 0.2 * smooth_noise(rng, tissue.shape, (9, 9)) + 0.15 * smooth_noise(rng, tissue.shape, (2.5, 2.5))
    height = np.clip(tissue.depth / thickness, 0, 1)  # 0 at the base of the cells, 1 at the lumen
    apical = rng.uniform(0.45, 0.9)
    haematoxylin = rng.uniform(0.26, 0.5) * (1 - (1 - apical) * height)
    dye(tissue, within, haematoxylin * shade, rng.uniform(0.35, 0.65) * shade)
    _paint_lumens(tissue, thickness, rng)
    _paint_vacuoles(tissue, thickness, goblets, rng)
    _paint_nuclei(tissue, thickness, goblets, rng)


def _thickness(tissue: Tissue, goblets: NDArray[np.bool_], rng: np.random.Generator) -> FloatArray:
    """Height of the epithelium in pixels, ``(rows, columns)``; as deep as the gland where there is hardly a lumen."""
    count = goblets.size - 1
    deepest = ndimage.maximum(tissue.depth, tissue.glands, np.arange(count + 1))
    share = np.where(goblets, rng.uniform(0.7, 1.1, count + 1), rng.uniform(0.4, 0.95, count + 1))
    height = np.clip(share * deepest, 7.0, np.where(goblets, 22.0, 15.0)).astype(np.float32)
    thickness: FloatArray = height[tissue.glands] * (1 + 0.13 * smooth_noise(rng, tissue.shape, (8, 8)))
    return thickness


def _paint_lumens(tissue: Tissue, thickness: FloatArray, rng: np.random.Generator) -> None:
    """Paint the lumens: empty, or with mucus or secretion that has come off the wall, and with shed cells."""
    count = int(tissue.glands.max())
    content = np.array(_CONTENTS, np.float32)[rng.choice(3, count + 1, p=[0.5, 0.25, 0.25])][tissue.glands]
    open_space = inside(thickness - tissue.depth)
    dye(tissue, open_space, *EMPTY)
    shade = 1 + 0.3 * smooth_noise(rng, tissue.shape, (4, 4))
    dye(tissue, inside(thickness + 2.0 - tissue.depth), content[..., 0] * shade, content[..., 1] * shade)
    points = scatter(rng, tissue.shape, 5.0)
    shed = (rng.random(count + 1) < 0.3)[tissue.glands] & (tissue.depth > thickness + 1.5)
    points = points[at(shed, points) & (rng.random(len(points)) < 0.5)]
    radii = rng.uniform(0.8, 1.5, (len(points), 2))
    dye(tissue, cells(tissue.shape, points, radii, np.zeros(len(points))), rng.uniform(0.5, 1.0), 0.5)


def _paint_vacuoles(
    tissue: Tissue, thickness: FloatArray, goblets: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Paint the pale vacuoles of goblet cells between the nuclei and the lumen, longer towards the lumen."""
    points = scatter(rng, tissue.shape, rng.uniform(4.4, 6.0))
    between = goblets[tissue.glands] & (tissue.depth > 6.0) & (tissue.depth < thickness + 1)
    points = points[at(between, points) & (rng.random(len(points)) < 0.92)]
    radii = np.stack([rng.uniform(1.9, 3.3, len(points)), rng.uniform(1.5, 2.3, len(points))], axis=1)
    angle = at(direction(tissue.depth), points)
    dye(tissue, cells(tissue.shape, points, radii, angle), *_VACUOLE)


def _paint_nuclei(tissue: Tissue, thickness: FloatArray, goblets: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Paint the nuclei: one row at the base of goblet cells, one to three rows of upright ones elsewhere."""
    rows = np.where(goblets, 4.2, rng.uniform(4.0, 8.5, goblets.size)).astype(np.float32)
    reach = np.minimum(rows[tissue.glands], thickness - 2.5)
    points = scatter(rng, tissue.shape, 2.3)
    depth, limit = at(tissue.depth, points), at(reach, points)
    astray = (depth < at(thickness, points) - 2) & (rng.random(len(points)) < 0.03)
    points = points[(depth > 1.0) & ((depth < limit) | astray)]
    upright = ~at(goblets[tissue.glands], points)
    long = np.where(upright, rng.uniform(1.5, 2.6, len(points)), rng.uniform(1.1, 1.6, len(points)))
    radii = np.stack([long, rng.uniform(0.9, 1.35, len(points))], axis=1)
    angle = at(direction(tissue.depth), points) + rng.normal(0, 0.25, len(points))
    dye_nuclei(tissue, cells(tissue.shape, points, radii, angle), rng)
