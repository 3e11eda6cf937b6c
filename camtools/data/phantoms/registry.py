"""Kinds of phantoms by name."""

from __future__ import annotations

import numpy as np

from camtools.data.dividing import check_seed
from camtools.data.phantoms.fetal_brain import FETAL_BRAIN
from camtools.data.phantoms.gland import GLAND
from camtools.data.phantoms.phantom import Phantom, PhantomKind, Photograph
from camtools.data.phantoms.tumour import TUMOUR

__all__ = ["KINDS", "make_phantom", "phantom_kind"]

KINDS: dict[str, PhantomKind] = {"fetal_brain": FETAL_BRAIN, "gland": GLAND, "tumour": TUMOUR}


def phantom_kind(kind: str) -> PhantomKind:
    """Look a kind of phantom up.

    Args:
        kind: name of the kind.

    Returns:
        The entry of the registry.

    Raises:
        ValueError: there is no such kind; the message lists all kinds.

    Example:
        >>> phantom_kind("fetal_brain").label
        'brain'
    """
    if kind not in KINDS:
        kinds = ", ".join(sorted(KINDS))
        raise ValueError(f"Expected a kind of phantom ({kinds}), found {kind!r}. Choose one of them.")
    return KINDS[kind]


def make_phantom(kind: str, seed: int) -> Phantom | Photograph:
    """Draw one phantom.

    Args:
        kind: name of a kind in ``KINDS``, for example ``"fetal_brain"``.
        seed: integer >= 0; the same kind and seed give the same image, mask and affine.

    Returns:
        The phantom: a volume, or for ``"gland"`` a photograph.

    Raises:
        ValueError: unknown kind or a seed that is not an integer >= 0.

    Example:
        >>> phantom = make_phantom("fetal_brain", seed=0)
        >>> phantom.image.dtype, phantom.mask.dtype, sorted(set(phantom.slice_labels))
        (dtype('int16'), dtype('uint8'), [0, 1])
    """
    check_seed(seed)
    return phantom_kind(kind).build(np.random.default_rng(seed))
