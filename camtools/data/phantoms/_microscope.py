"""What the microscope adds: the colours of the dyes, the lamp, blur and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from camtools.data.phantoms._scene import smooth_noise
from camtools.data.phantoms._tissue import Tissue

# Optical density of a unit of each dye in red, green and blue (haematoxylin blue-violet, eosin pink), and how far the
# dyes of one laboratory differ from it.
_HAEMATOXYLIN, _EOSIN = (0.72, 1.00, 0.36), (0.12, 1.00, 0.24)
_HUE_JITTER = 0.06
_BLUR_PIXELS = 0.55


def photograph(rng: np.random.Generator, tissue: Tissue) -> NDArray[np.uint8]:
    """Photograph a section by transmitted light: every dye takes away light in proportion to its amount.

    ``I = I0 * exp(-(h * H + e * E))`` per colour channel, with the optical densities ``H`` and ``E`` of the dyes.
    Strength and hue of the dyes, brightness and evenness of the lamp differ from one photograph to the next.

    Args:
        rng: random generator.
        tissue: the section.

    Returns:
        RGB image ``(rows, columns, 3)``, uint8.
    """
    strength = rng.uniform(0.5, 1.3) * np.array([[rng.uniform(0.85, 1.15)], [rng.uniform(0.8, 1.15)]])
    dyes = strength * np.array([_HAEMATOXYLIN, _EOSIN]) * (1 + _HUE_JITTER * rng.standard_normal((2, 3)))
    amounts = np.stack([tissue.haematoxylin, tissue.eosin], axis=-1)
    amounts *= 1 + 0.1 * smooth_noise(rng, tissue.shape, (60, 60))[..., None]  # the section's thickness
    density = (amounts[..., None] * dyes.astype(np.float32)).sum(axis=2)  # a matrix product rounds by thread count
    lamp = rng.uniform(232, 255) * (1 + rng.uniform(-0.015, 0.015, 3))
    light = lamp.astype(np.float32) * (1 + 0.02 * smooth_noise(rng, tissue.shape, (90, 90))[..., None])
    image = ndimage.gaussian_filter(light * np.exp(-density), (_BLUR_PIXELS, _BLUR_PIXELS, 0))
    image += rng.uniform(1.5, 4.0) * rng.standard_normal(image.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return pixels
