"""Phantoms of kind ``gland``: photographs of colon glands in stroma, stained with haematoxylin and eosin."""

from __future__ import annotations

import numpy as np

from camtools.data.phantoms._epithelium import paint_glands
from camtools.data.phantoms._gland_layout import random_glands
from camtools.data.phantoms._microscope import photograph
from camtools.data.phantoms._stroma import paint_stroma
from camtools.data.phantoms._tissue import empty_tissue
from camtools.data.phantoms.phantom import PhantomKind, Photograph

__all__ = ["GLAND", "build_gland"]


def build_gland(rng: np.random.Generator) -> Photograph:
    """Draw one photograph of glands.

    Glands are 30 to 70 pixels across, round, long or bent; some touch and some are cut by the border. As in the GlaS
    images of the OEEM paper (section 3.1), colour does not tell them from the stroma: both are pink and purple with
    dark nuclei, clefts, fat and vessels are as pale as lumens and vacuoles, and stain and brightness vary. What tells
    them is their structure: a ring of nuclei around pale cells and a lumen.

    Args:
        rng: random generator.

    Returns:
        A photograph of 144 to 176 rows and 176 to 224 columns; the mask numbers the glands.

    Example:
        >>> phantom = build_gland(np.random.default_rng(0))
        >>> phantom.image.shape[:2] == phantom.mask.shape, phantom.slice_labels
        (True, [1])
    """
    shape = (int(rng.integers(72, 89)) * 2, int(rng.integers(88, 113)) * 2)
    tissue = empty_tissue(random_glands(rng, shape))
    paint_stroma(tissue, rng)
    paint_glands(tissue, rng)
    return Photograph(photograph(rng, tissue), tissue.glands)


GLAND = PhantomKind(
    label="gland",
    description="Synthetic photographs of colon glands in stroma, stained with haematoxylin and eosin.",
    build=build_gland,
)
