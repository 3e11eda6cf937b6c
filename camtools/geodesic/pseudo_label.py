"""Seed-derived pseudo-label: seeds and a slice become soft background and foreground probabilities."""

from __future__ import annotations

from typing import Literal

import torch

from camtools.geodesic.distance import Backend, check_images, check_passes, resolve_backend, unchecked_distance
from camtools.seeds import Seeds, seeds_from_cam
from camtools.thresholds import intra_class_variance


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

    Threshold the map, take seeds (:func:`camtools.seeds.seeds_from_cam`), expand them by geodesic distance
    (:func:`spl_from_seeds`). A slice whose map has no pixel above the threshold, such as a map of zeros, has no seeds
    and becomes pure background.

    Args:
        images: slices, ``(B, C, H, W)``, finite.
        cam: activation maps, ``(B, 1, H, W)``; in [0, 1] for the ``"auto"`` threshold.
        threshold: ``"auto"`` for :func:`camtools.thresholds.intra_class_variance` on the z-scored slice, one value, or
            one value for each slice ``(B,)``.
        alpha: how fast the probability falls with distance, > 0, per standard deviation of the intensities.
        margin: pixels by which the bounding box of the object grows before its corners become background seeds.
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
    check_images(images)
    if cam.shape != (len(images), 1, *images.shape[2:]):
        expected = (len(images), 1, *images.shape[2:])
        raise ValueError(f"expected cam of shape {expected} to match images, got {tuple(cam.shape)}")
    if isinstance(threshold, str):
        if threshold != "auto":
            raise ValueError(f"expected threshold to be 'auto', a number or a (B,) tensor, got {threshold!r}")
        threshold = intra_class_variance(_zscore(images), cam)
    return spl_from_seeds(images, seeds_from_cam(cam, threshold, margin), alpha, passes, backend)


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
        raise ValueError(f"expected alpha > 0, got {alpha}")
    masks = torch.cat([seeds.background, seeds.foreground])
    if masks.shape != (2 * len(images), 1, *images.shape[2:]):
        raise ValueError(f"expected seeds that match images {tuple(images.shape)}, got {tuple(seeds.foreground.shape)}")
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
