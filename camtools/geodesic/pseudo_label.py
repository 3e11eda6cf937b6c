"""Seed-derived pseudo-label: seeds and a slice become soft background and foreground probabilities."""

from __future__ import annotations

from typing import Literal

import torch

from camtools.fusion import normalize_min_max
from camtools.geodesic.distance import Backend, check_images, check_passes, resolve_backend, unchecked_distance
from camtools.seeds import Seeds, seeds_from_cam
from camtools.thresholds import check_maps, intra_class_variance


def seed_pseudo_label(
    images: torch.Tensor,
    cam: torch.Tensor,
    threshold: Literal["auto"] | float | torch.Tensor = "auto",
    alpha: float = 1.0,
    margin: int = 5,
    passes: int | None = None,
    backend: Backend = "auto",
) -> torch.Tensor:
    """Seed-derived pseudo-label (SPL) of slices and their activation maps.

    Take seeds from the map (:func:`pseudo_label_seeds`), expand them by geodesic distance (:func:`spl_from_seeds`). A
    slice whose map has no pixel above the threshold, such as a map of zeros, has no seeds and becomes pure background.

    Args:
        images: slices, ``(B, C, H, W)``, finite.
        cam: activation maps, ``(B, 1, H, W)``, finite; see :func:`pseudo_label_seeds`.
        threshold: see :func:`pseudo_label_seeds`.
        alpha: how fast the probability falls with distance, > 0, per standard deviation of the intensities.
        margin: see :func:`pseudo_label_seeds`.
        passes: raster passes of :func:`camtools.geodesic.geodesic_distance`; None for the exact distance.
        backend: backend of :func:`camtools.geodesic.geodesic_distance`.

    Returns:
        Soft pseudo-label ``(B, 2, H, W)``, float32: background, then foreground; sums to 1 over the classes.

    Raises:
        ValueError: wrong shapes, values that are not finite, ``alpha`` not above 0, another text as ``threshold``, and
            what the functions named above raise.
        ImportError: the chosen backend is not installed.

    Source:
        Fu et al., "UM-CAM", MICCAI 2023, section 2.2, eq. 5-7.

    Example:
        >>> image = torch.zeros(1, 1, 16, 16)
        >>> image[..., 5:11, 5:11] = 1.0
        >>> label = seed_pseudo_label(image, 0.9 * image)
        >>> (label[0, 1] > 0.5).sum().item()
        36
    """
    return spl_from_seeds(images, pseudo_label_seeds(images, cam, threshold, margin), alpha, passes, backend)


def pseudo_label_seeds(
    images: torch.Tensor,
    cam: torch.Tensor,
    threshold: Literal["auto"] | float | torch.Tensor = "auto",
    margin: int = 5,
) -> Seeds:
    """Seeds of the seed-derived pseudo-label.

    Each map is scaled to [0, 1] by its own minimum and maximum, as in the authors' code, and thresholded. Its largest
    component gives the seeds (:func:`camtools.seeds.seeds_from_cam`).

    Args:
        images: slices, ``(B, C, H, W)``, finite.
        cam: activation maps, ``(B, 1, H, W)``, finite; their scale does not matter. A constant map has no seeds.
        threshold: share of the range of a map, in [0, 1]: one value, one value for each slice ``(B,)``, or ``"auto"``
            for :func:`camtools.thresholds.intra_class_variance` on the z-scored slice.
        margin: pixels by which the bounding box of the object grows before its corners become background seeds.

    Raises:
        ValueError: wrong shapes, values that are not finite, or another text as ``threshold``.

    Example:
        >>> cam = torch.full((1, 1, 9, 9), 2.0)
        >>> cam[..., 3:6, 3:6] = 6.0
        >>> pseudo_label_seeds(cam, cam, threshold=0.4).foreground[0, 0].nonzero().tolist()
        [[4, 4]]
    """
    check_images(images)
    expected = (len(images), 1, *images.shape[2:])
    if cam.shape != expected:
        raise ValueError(f"expected cam of shape {expected} to match images, found {tuple(cam.shape)}")
    check_maps(cam, "cam")
    scaled = normalize_min_max(cam)
    if isinstance(threshold, str):
        if threshold != "auto":
            raise ValueError(f"expected threshold to be 'auto', a number or a (B,) tensor, found {threshold!r}")
        threshold = intra_class_variance(_zscore(images), scaled)
    return seeds_from_cam(scaled, threshold, margin)


def spl_from_seeds(
    images: torch.Tensor, seeds: Seeds, alpha: float = 1.0, passes: int | None = None, backend: Backend = "auto"
) -> torch.Tensor:
    r"""Seed-derived pseudo-label (SPL) of slices whose seeds are known.

    .. math:: P^b(i) = \frac{e^{-\alpha D_b(i)}}{e^{-\alpha D_b(i)} + e^{-\alpha D_f(i)}}, \quad P^f(i) = 1 - P^b(i)

    with :math:`D_b` and :math:`D_f` the geodesic distances to the background and the foreground seeds on the slice
    z-scored channel by channel (a constant channel becomes 0). Computed as a softmax of :math:`-\alpha D`, which does
    not underflow far from the seeds. The distance to a class without seeds is infinite: without background seeds the
    slice is pure foreground, without foreground seeds (and without any) pure background.

    Args:
        images: slices, ``(B, C, H, W)``, finite.
        seeds: their seeds, as :func:`camtools.seeds.seeds_from_cam` returns them.
        alpha: how fast the probability falls with distance, > 0, per standard deviation of the intensities.
        passes: raster passes of :func:`camtools.geodesic.geodesic_distance`; None for the exact distance.
        backend: backend of :func:`camtools.geodesic.geodesic_distance`.

    Returns:
        Soft pseudo-label ``(B, 2, H, W)``, float32: background, then foreground; sums to 1 over the classes.

    Raises:
        ValueError: wrong shapes, non-finite voxels, ``alpha`` not above 0, or ``passes`` below 1.
        ImportError: the chosen backend is not installed.

    Source:
        Fu et al., "UM-CAM", MICCAI 2023, eq. 5-7.

    Example:
        >>> background, foreground = torch.zeros(2, 1, 1, 1, 4, dtype=torch.bool)
        >>> background[..., 0] = True
        >>> foreground[..., 3] = True
        >>> image = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
        >>> spl_from_seeds(image, Seeds(foreground, background, foreground))[0, 1, 0].round(decimals=2)
        tensor([0.1200, 0.1200, 0.8800, 0.8800])
    """
    check_images(images)
    check_passes(passes)
    if not alpha > 0:
        raise ValueError(f"expected alpha > 0, found {alpha}")
    masks = torch.cat([seeds.background, seeds.foreground])
    if masks.shape != (2 * len(images), 1, *images.shape[2:]):
        raise ValueError(f"expected seeds to match images {tuple(images.shape)}, found {tuple(seeds.foreground.shape)}")
    seeded = masks.flatten(1).any(1)
    distance = torch.full(masks.shape, torch.inf, device=images.device)
    both = _zscore(images).repeat(2, 1, 1, 1)
    distance[seeded] = unchecked_distance(both[seeded], masks[seeded], passes, resolve_backend(backend, images.device))
    to_background, to_foreground = distance.chunk(2)
    without_object = torch.isinf(to_foreground)
    to_background = to_background.masked_fill(without_object, 0.0)
    return torch.softmax(-alpha * torch.cat([to_background, to_foreground], dim=1), dim=1)


def _zscore(images: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance in each channel of each slice."""
    values = images.detach().float()
    centred = values - values.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)
