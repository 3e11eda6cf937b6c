"""Fuse the activation maps of several layers or scales into one map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["layer_sum", "mean", "normalize_max", "normalize_min_max", "uncertainty_weighted_mean"]


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
