"""The stroma between glands: fibres, its own nuclei, and gaps, fat and vessels as pale as lumens."""

from __future__ import annotations

import numpy as np

from camtools.data.phantoms._scene import band, inside, smooth_noise
from camtools.data.phantoms._tissue import EMPTY, Tissue, at, cells, direction, dye, dye_nuclei, scatter
from camtools.data.phantoms.phantom import FloatArray

_BLOOD = (0.10, 1.05)


def paint_stroma(tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint the stroma of a whole section; glands are painted over it.

    Args:
        tissue: painted in place.
        rng: random generator.
    """
    shape = tissue.shape
    flow = _flow(tissue, rng)
    patchy = smooth_noise(rng, shape, (22, 22))
    wave = np.sin(flow * (2 * np.pi / rng.uniform(4.0, 7.0)) + 1.5 * smooth_noise(rng, shape, (9, 9)))
    fibre = wave * np.clip(0.5 + 0.6 * smooth_noise(rng, shape, (12, 12)), 0, 1.5)
    fine = smooth_noise(rng, shape, (2.5, 2.5))
    eosin = rng.uniform(0.3, 0.6) * (1 + 0.18 * patchy + 0.3 * fibre + 0.15 * fine)
    haematoxylin = rng.uniform(0.08, 0.3) * (1 + 0.25 * smooth_noise(rng, shape, (15, 15)) + 0.25 * fibre + 0.2 * fine)
    tissue.haematoxylin[...] = np.clip(haematoxylin, 0.03, None)
    tissue.eosin[...] = np.clip(eosin, 0.08, None)
    _paint_gaps(tissue, flow, rng)
    _paint_fat(tissue, rng)
    for _ in range(int(rng.integers(1, 5))):
        _paint_vessel(tissue, rng)
    _paint_nuclei(tissue, flow, rng)


def _flow(tissue: Tissue, rng: np.random.Generator) -> FloatArray:
    """Coordinate across the fibres in pixels, ``(rows, columns)``: wavy lines that bend around the glands."""
    rows, columns = np.indices(tissue.shape, dtype=np.float32)
    heading = rng.uniform(0, np.pi)
    straight = np.cos(heading) * rows + np.sin(heading) * columns
    straight += rng.uniform(4, 9) * smooth_noise(rng, tissue.shape, (35, 35))
    near = np.exp(np.minimum(tissue.depth, 0) / np.float32(6))
    flow: FloatArray = straight * (1 - near) - tissue.depth * near
    return flow


def _paint_gaps(tissue: Tissue, flow: FloatArray, rng: np.random.Generator) -> None:
    """Paint clefts between fibres, and clefts along parts of the glands where the tissue has shrunk."""
    shape = tissue.shape
    wave = np.cos(flow * (2 * np.pi / rng.uniform(12, 22)))
    loose = smooth_noise(rng, shape, (20, 20)) + rng.uniform(-1.0, 0.6)
    dye(tissue, inside(1.6 - wave - 0.8 * loose, edge=0.12), *EMPTY)
    width = rng.uniform(0.5, 3.0) * smooth_noise(rng, shape, (18, 18)) + rng.uniform(-1.2, 0.8)
    dye(tissue, inside(-tissue.depth - width) * (tissue.depth < 1), *EMPTY)


def _paint_fat(tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint clusters of pale round cells, about as large as the vacuoles of goblet cells or larger."""
    points = scatter(rng, tissue.shape, rng.uniform(6, 9))
    cluster = smooth_noise(rng, tissue.shape, (24, 24)) > rng.uniform(0.7, 2.2)
    points = points[at(cluster, points) & (rng.random(len(points)) < 0.85)]
    radii = rng.uniform(1.8, 3.8, (len(points), 1)) * rng.uniform(0.8, 1.0, (len(points), 2))
    angle = rng.uniform(0, np.pi, len(points))
    dye(tissue, cells(tissue.shape, points, radii, angle), 0.08, 0.08)


def _paint_vessel(tissue: Tissue, rng: np.random.Generator) -> None:
    """Paint a vessel: a pale oval with a thin pink wall, empty, or full of blood."""
    rows, columns = np.indices(tissue.shape, dtype=np.float32)
    row, column = rng.uniform(0, 1, 2) * tissue.shape
    angle, long, short = rng.uniform(0, np.pi), rng.uniform(4, 20), rng.uniform(3, 9)
    u = np.cos(angle) * (columns - column) + np.sin(angle) * (rows - row)
    v = np.cos(angle) * (rows - row) - np.sin(angle) * (columns - column)
    distance = (np.hypot(u / long, v / short) - 1) * short + 0.8 * smooth_noise(rng, tissue.shape, (6, 6))
    dye(tissue, inside(distance - 1.5), rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.9))
    dye(tissue, inside(distance), *EMPTY)
    if rng.random() < 0.4:
        dye(tissue, inside(distance + 1), _BLOOD[0], _BLOOD[1] * (1 + 0.2 * smooth_noise(rng, tissue.shape, (3, 3))))
    points = scatter(rng, tissue.shape, 3.5)
    points = points[at(band(distance, 0.3, 1.6), points) > 0.5]
    radii = np.broadcast_to([1.9, 0.9], (len(points), 2))
    dye_nuclei(tissue, cells(tissue.shape, points, radii, at(direction(distance), points) + np.pi / 2), rng)


def _paint_nuclei(tissue: Tissue, flow: FloatArray, rng: np.random.Generator) -> None:
    """Paint spindle-shaped nuclei along the fibres, and round ones of white blood cells that gather in crowds."""
    along = direction(flow) + np.pi / 2
    density = 0.5 + 0.3 * smooth_noise(rng, tissue.shape, (20, 20))
    points = scatter(rng, tissue.shape, rng.uniform(4.0, 6.5))
    points = points[rng.random(len(points)) < at(density, points)]
    radii = np.stack([rng.uniform(1.6, 3.2, len(points)), rng.uniform(0.7, 1.1, len(points))], axis=1)
    spindle = cells(tissue.shape, points, radii, at(along, points) + rng.normal(0, 0.3, len(points)))
    crowd = smooth_noise(rng, tissue.shape, (22, 22)) - rng.uniform(-0.1, 1.6)
    points = scatter(rng, tissue.shape, rng.uniform(2.8, 3.4))
    points = points[rng.random(len(points)) < np.clip(0.06 + 0.9 * at(crowd, points), 0.03, 0.9)]
    radii = rng.uniform(1.0, 1.5, (len(points), 1)) * rng.uniform(0.85, 1.0, (len(points), 2))
    round_ones = cells(tissue.shape, points, radii, np.zeros(len(points)))
    dye_nuclei(tissue, np.maximum(spindle, round_ones), rng)
