"""Fuse the activation maps of several layers or scales into one map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "centre_at_threshold",
    "geometric_mean",
    "layer_sum",
    "mean",
    "normalize_max",
    "normalize_min_max",
    "uncertainty_weighted_mean",
]


def normalize_max(maps: Tensor) -> Tensor:
    """Divide each map by its own maximum.

    Source: UM-CAM (Fu et al., 2023), section 2.1.

    Args:
        maps: ``(B, L, *spatial)``, >= 0.

    Returns:
        ``(B, L, *spatial)`` in [0, 1] with maximum 1; a map of zeros stays zero.

    Raises:
        ValueError: no spatial dimension.

    Example:
        >>> import torch
        >>> normalize_max(torch.tensor([[[[1.0, 4.0]], [[0.0, 0.0]]]]))
        tensor([[[[0.2500, 1.0000]],
        <BLANKLINE>
                 [[0.0000, 0.0000]]]])
    """
    _check_shape(maps)
    peaks = maps.amax(dim=tuple(range(2, maps.ndim)), keepdim=True)
    return maps / torch.where(peaks == 0, 1, peaks)


def normalize_min_max(maps: Tensor) -> Tensor:
    """Scale each map to [0, 1] by its own minimum and maximum.

    Source: the authors' code of UM-CAM (before the seeds are thresholded) and of Cfd-CAM.

    Args:
        maps: ``(B, L, *spatial)``.

    Returns:
        ``(B, L, *spatial)`` in [0, 1]; a constant map becomes zero.

    Raises:
        ValueError: no spatial dimension.

    Example:
        >>> import torch
        >>> normalize_min_max(torch.tensor([[[[1.0, 2.0, 5.0]]]]))
        tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """
    _check_shape(maps)
    return normalize_max(maps - maps.amin(dim=tuple(range(2, maps.ndim)), keepdim=True))


def uncertainty_weighted_mean(maps: Tensor, weighting: Literal["linear", "exp"] = "linear") -> Tensor:
    r"""UM-CAM: the mean over layers, with each pixel weighted by the certainty of the layer.

    .. math::
        H_m(i) = -\sum_{j \in \{b, f\}} \hat A_m^j(i) \log \hat A_m^j(i), \qquad
        P_{UM}(i) = \frac{\sum_m w_m(i) \hat A_m(i)}{\sum_m w_m(i)}

    with :math:`\hat A^f = \hat A`, :math:`\hat A^b = 1 - \hat A`, the natural logarithm and 0 log 0 = 0. The weights
    are positive (at least 1 - log 2), so the quotient always exists.

    Source: UM-CAM (Fu et al., 2023), eq. 3-4.

    Args:
        maps: foreground probabilities ``(B, L, *spatial)`` in [0, 1]: maps after :func:`normalize_max`.
        weighting: ``"linear"``: :math:`w = 1 - H` (eq. 3); ``"exp"``: :math:`w = e^{-H}` (the authors' code).

    Returns:
        ``(B, 1, *spatial)`` in [0, 1], computed in at least float32.

    Raises:
        ValueError: no spatial dimension, values outside [0, 1] or NaN, an unknown weighting.

    Example:
        >>> import torch
        >>> uncertainty_weighted_mean(torch.tensor([[[[1.0]], [[0.5]]]]))  # weights 1 and 1 - log 2
        tensor([[[[0.8826]]]])
    """
    _check_shape(maps)
    if weighting not in ("linear", "exp"):
        raise ValueError(f"expected weighting 'linear' (w = 1 - H) or 'exp' (w = exp(-H)), found {weighting!r}")
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    if maps.numel() > 0:
        bounds = maps.aminmax()
        lowest, highest = bounds.min.item(), bounds.max.item()
        if not (lowest >= 0 and highest <= 1):  # also true of NaN
            raise ValueError(
                f"expected foreground probabilities in [0, 1], found values from {lowest:.6g} to "
                f"{highest:.6g}; call camtools.fusion.normalize_max(maps) first"
            )
    entropy = torch.special.entr(maps) + torch.special.entr(1 - maps)
    weights = 1 - entropy if weighting == "linear" else torch.exp(-entropy)
    return (weights * maps).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)


def mean(maps: Tensor) -> Tensor:
    """Average the maps of all layers.

    Source: UM-CAM (Fu et al., 2023), table 1, Average-CAM (on maps after :func:`normalize_max`).

    Args:
        maps: ``(B, L, *spatial)``.

    Returns:
        ``(B, 1, *spatial)``.

    Raises:
        ValueError: no spatial dimension.

    Example:
        >>> import torch
        >>> mean(torch.tensor([[[[1.0, 4.0]], [[0.0, 2.0]]]]))
        tensor([[[[0.5000, 3.0000]]]])
    """
    _check_shape(maps)
    return maps.mean(dim=1, keepdim=True)


def geometric_mean(maps: Tensor) -> Tensor:
    r"""Geometric mean of the maps of all layers: a pixel is high only where every layer is.

    .. math:: A(i) = \Big(\prod_{m=1}^{L} \hat A_m(i)\Big)^{1 / L}

    Args:
        maps: ``(B, L, *spatial)``, >= 0.

    Returns:
        ``(B, 1, *spatial)``, in at least float32; zero where one of the maps is zero.

    Raises:
        ValueError: no spatial dimension, or a negative value.

    Example:
        >>> import torch
        >>> geometric_mean(torch.tensor([[[[1.0, 4.0]], [[0.0, 1.0]]]]))
        tensor([[[[0., 2.]]]])
    """
    _check_shape(maps)
    if maps.numel() > 0 and bool((maps < 0).any()):
        raise ValueError(f"expected maps >= 0, found values down to {maps.min().item():.6g}; activation maps are >= 0")
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return wide.log().mean(dim=1, keepdim=True).exp()


def centre_at_threshold(maps: Tensor, threshold: float | Tensor) -> Tensor:
    r"""Probabilities of the object that are one half where a map crosses its threshold.

    .. math::
        p(i) = \frac{a(i)}{2 t} \text{ for } a(i) \le t, \qquad
        p(i) = \frac{1}{2} + \frac{a(i) - t}{2 (1 - t)} \text{ for } a(i) > t

    The value of a map is no probability: the mask that agrees best with the object may be where it exceeds 0.3. A dense
    CRF takes 0.5 as undecided. With this unary term, the CRF starts from the thresholded map. The order of the pixels,
    0 and 1 stay as they are.

    Args:
        maps: ``(B, 1, *spatial)`` in [0, 1], after :func:`normalize_max`.
        threshold: t, one value or one for each map ``(B,)``. A map of zeros stays zero for every threshold.

    Returns:
        ``(B, 1, *spatial)`` in [0, 1], in at least float32.

    Raises:
        ValueError: no spatial dimension, values or thresholds outside [0, 1] or NaN.

    Example:
        >>> import torch
        >>> centre_at_threshold(torch.tensor([[[[0.0, 0.1, 0.2, 0.6, 1.0]]]]), 0.2)
        tensor([[[[0.0000, 0.2500, 0.5000, 0.7500, 1.0000]]]])
    """
    _check_shape(maps)
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    level = torch.as_tensor(threshold, dtype=maps.dtype, device=maps.device)
    for name, values in (("maps", maps), ("thresholds", level)):
        if values.numel() > 0 and not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError(
                f"expected {name} in [0, 1], found values from {values.min().item():.6g} to {values.max().item():.6g}; "
                "call camtools.fusion.normalize_max(maps) first"
            )
    level = level.reshape(-1, *(1 for _ in maps.shape[1:]))
    below = maps / (2 * level.clamp(min=1e-6))
    above = 0.5 + (maps - level) / (2 * (1 - level).clamp(min=1e-6))
    return torch.where(maps > level, above, below).clamp(0, 1)


def layer_sum(maps: Tensor) -> Tensor:
    """Add the maps of all layers (layerization).

    Source: LTGrad-CAM (Dong et al., 2023), eq. 8.

    Args:
        maps: ``(B, L, *spatial)``, upsampled to one size.

    Returns:
        ``(B, 1, *spatial)``.

    Raises:
        ValueError: no spatial dimension.

    Example:
        >>> import torch
        >>> layer_sum(torch.tensor([[[[1.0, 4.0]], [[0.0, 2.0]]]]))
        tensor([[[[1., 6.]]]])
    """
    _check_shape(maps)
    return maps.sum(dim=1, keepdim=True)


def _check_shape(maps: Tensor) -> None:
    if maps.ndim < 3 or maps.shape[1] == 0:
        raise ValueError(f"expected maps (B, L, *spatial) with at least one layer, found shape {tuple(maps.shape)}")
