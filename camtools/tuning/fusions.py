"""How the maps of several layers become one map in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from camtools.fusion import geometric_mean, layer_sum, mean, normalize_max, uncertainty_weighted_mean

__all__ = ["FUSIONS", "fused_map"]

FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": mean,
    "geometric_mean": geometric_mean,
    "uncertainty_weighted_mean": uncertainty_weighted_mean,
    "layer_sum": layer_sum,
}
"""Name -> function of :mod:`camtools.fusion`, from the simplest."""


def fused_map(maps: Tensor, fusion: str = "mean") -> Tensor:
    """Fuse the maps of layers and scale the result to [0, 1].

    The maps are divided by their maxima before they are fused, and so is the result. ``layer_sum`` adds the maps as
    they are, as LTGrad-CAM does: there a layer with larger values weighs more.

    Args:
        maps: ``(B, L, H, W)``, >= 0, as a CAM object gives them.
        fusion: a key of ``FUSIONS``.

    Returns:
        ``(B, 1, H, W)`` in [0, 1], with maximum 1; a map of zeros stays zero.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[[[0.0, 1.0, 2.0]], [[0.0, 8.0, 0.0]]]])
        >>> fused_map(maps)
        tensor([[[[0.0000, 1.0000, 0.6667]]]])
        >>> fused_map(maps, "layer_sum")
        tensor([[[[0.0000, 1.0000, 0.2222]]]])
    """
    if fusion != "layer_sum":
        maps = normalize_max(maps)
    return normalize_max(FUSIONS[fusion](maps))
