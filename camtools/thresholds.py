"""Thresholds that turn an activation map into a mask: a pixel is foreground where ``map > threshold``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

Rule = Literal["otsu", "midpoint"] | float
"""How :func:`map_threshold` chooses; a number is a fraction of the maximum."""

CANDIDATES: tuple[float, ...] = tuple(k / 20 for k in range(1, 20))
"""Thresholds tried by default on maps in [0, 1], namely 0.05, 0.10, ..., 0.95."""

_OTSU_BINS = 256
_ROUNDING = 1e-3


def otsu(maps: torch.Tensor) -> torch.Tensor:
    """Threshold of each map that best separates its histogram, by Otsu's method.

    Over 256 bins between the minimum and the maximum of the map, the centre of the bin that maximises the variance
    between the two classes, ``w1 * w2 * (m1 - m2)^2``. A constant map gives its value, so its mask is empty.

    Args:
        maps: activation maps, ``(B, 1, H, W)``, finite, any range.

    Returns:
        Thresholds ``(B,)``, float32, in the unit of the maps.

    Raises:
        ValueError: ``maps`` has another shape or is not finite.

    Source:
        Otsu, "A threshold selection method from gray-level histograms", 1979; used by LTGrad-CAM, section 4.

    Example:
        >>> round(otsu(torch.tensor([[[[0.0, 0.1], [0.9, 1.0]]]])).item(), 2)
        0.1
    """
    check_maps(maps)
    values = maps.flatten(1).double()
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    span = torch.where(high > low, high - low, 1.0)
    bins = ((values - low) / span * _OTSU_BINS).long().clamp(max=_OTSU_BINS - 1)
    counts = values.new_zeros(len(values), _OTSU_BINS).scatter_add_(1, bins, torch.ones_like(values))
    centres = low + (torch.arange(_OTSU_BINS, device=maps.device) + 0.5) / _OTSU_BINS * span
    below, sum_below = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)[:, :-1]
    above, sum_above = _sums_from(counts)[:, 1:], _sums_from(counts * centres)[:, 1:]
    # The outermost bins hold the minimum and the maximum, so neither class is empty unless the map is constant.
    separation = below * above * (sum_below / below - sum_above / above) ** 2
    best = centres.gather(1, separation.nan_to_num(0.0).argmax(1, keepdim=True))
    return torch.where(high > low, best, low)[:, 0].float()


def midpoint(maps: torch.Tensor) -> torch.Tensor:
    """Halfway between the minimum and the maximum of each map, ``(max + min) / 2``.

    Args:
        maps: activation maps, ``(B, 1, H, W)``, finite, any range.

    Returns:
        Thresholds ``(B,)``, float32, in the unit of the maps.

    Raises:
        ValueError: ``maps`` has another shape or is not finite.

    Example:
        >>> midpoint(torch.tensor([[[[0.2, 0.4], [0.6, 1.0]]]]))
        tensor([0.6000])
    """
    check_maps(maps)
    values = maps.flatten(1).float()
    return (values.amax(1) + values.amin(1)) / 2


def map_threshold(maps: torch.Tensor, rule: Rule = "otsu") -> torch.Tensor:
    """Threshold of each map by a rule that uses only that map.

    Args:
        maps: activation maps, ``(B, 1, H, W)``, >= 0, finite.
        rule: ``"otsu"`` (:func:`otsu`), ``"midpoint"`` (:func:`midpoint`), or a number in (0, 1), the fraction of the
            map's maximum.

    Returns:
        Thresholds ``(B,)``, float32, in the unit of the maps; a map of zeros has an empty mask under every rule.

    Raises:
        ValueError: an unknown rule, or maps of another shape or not finite.

    Example:
        >>> map_threshold(torch.tensor([[[[0.0, 1.0, 4.0]]]]), rule=0.75)
        tensor([3.])
    """
    check_rule(rule)
    if isinstance(rule, str):
        return {"otsu": otsu, "midpoint": midpoint}[rule](maps)
    check_maps(maps)
    return rule * maps.flatten(1).amax(dim=1).float()


def per_pixel(thresholds: torch.Tensor) -> torch.Tensor:
    """Thresholds of a batch in the shape that compares with its maps.

    Args:
        thresholds: one value per map, ``(B,)``, or one value for all, ``()``.

    Returns:
        ``(B, 1, 1, 1)``, or ``(1, 1, 1, 1)`` for one value.

    Example:
        >>> maps = torch.tensor([[[[0.0, 1.0]]], [[[0.0, 4.0]]]])
        >>> (maps > per_pixel(midpoint(maps))).flatten().tolist()
        [False, True, False, True]
    """
    return thresholds.reshape(-1, 1, 1, 1)


def intra_class_variance(
    images: torch.Tensor, maps: torch.Tensor, candidates: Sequence[float] = CANDIDATES
) -> torch.Tensor:
    r"""Threshold of each map whose two classes are the most uniform in the image.

    .. math::
        t^* = \operatorname{argmin}_t
            \frac{1}{2} \left( \mathrm{Var}\{I : A > t\} + \mathrm{Var}\{I : A \le t\} \right)

    with population variances, averaged over the channels of the image. The smallest of equally good candidates wins. A
    candidate that leaves a class empty is not allowed; a map for which none is allowed gets its :func:`midpoint`.

    Args:
        images: slices, ``(B, C, H, W)``, finite. Channels on different scales should be z-scored first.
        maps: activation maps, ``(B, 1, H, W)``, in [0, 1].
        candidates: thresholds to try, in [0, 1].

    Returns:
        Thresholds ``(B,)``, float32, in [0, 1].

    Raises:
        ValueError: wrong shapes, values that are not finite, maps outside [0, 1], or no candidates.

    Source:
        Fu et al., "UM-CAM", MICCAI 2023: the authors' code, for the map that the seeds of section 2.2 come from.

    Example:
        >>> image = torch.tensor([[[[0.0, 0.0, 5.0, 5.0]]]])
        >>> intra_class_variance(image, torch.tensor([[[[0.1, 0.32, 0.6, 0.9]]]]))
        tensor([0.3500])
    """
    _check_unit_maps(maps)
    if images.ndim != 4 or images.shape[0] != maps.shape[0] or images.shape[2:] != maps.shape[2:]:
        raise ValueError(
            f"expected images (B, C, H, W) that match maps {tuple(maps.shape)}, found {tuple(images.shape)}"
        )
    if not torch.isfinite(images).all():
        raise ValueError("expected finite voxels, found NaN or infinity in images; replace them first")
    grid, bins = _candidate_bins(maps, candidates)
    values = images.flatten(2).double()
    # Centred values keep the difference of two large sums accurate.
    values = values - values.mean(2, keepdim=True)
    count = _binned_sums(bins, torch.ones_like(values), len(grid))
    total, square = _binned_sums(bins, values, len(grid)), _binned_sums(bins, values**2, len(grid))
    above = _variance(count[..., 1:], total[..., 1:], square[..., 1:])
    below = _variance(*(sums[..., :1] - sums[..., 1:] for sums in (count, total, square)))
    score = ((above + below) / 2).mean(1).nan_to_num(torch.inf)
    best = grid[score.argmin(1)]
    return torch.where(torch.isfinite(score).any(1), best, midpoint(maps))


def search_dice(maps: torch.Tensor, masks: torch.Tensor, candidates: Sequence[float] = CANDIDATES) -> float:
    """One threshold for a set of maps: the one with the best mean Dice over its slices.

    For **validation** data only: it reads pixel masks, and a method must not see the masks of training and test items.
    A slice where mask and thresholded map are both empty scores 1. The smallest of equally good candidates wins.

    Args:
        maps: activation maps of validation slices, ``(N, 1, H, W)``, in [0, 1].
        masks: their masks, ``(N, 1, H, W)``; every value other than 0 is foreground.
        candidates: thresholds to try, in [0, 1].

    Returns:
        The threshold, in [0, 1].

    Raises:
        ValueError: wrong shapes, no slice, values that are not finite, maps outside [0, 1], or no candidates.

    Example:
        >>> maps = torch.tensor([[[[0.1, 0.3, 0.7, 0.9]]]])
        >>> search_dice(maps, torch.tensor([[[[0, 1, 1, 1]]]]), candidates=[0.05, 0.2, 0.5])
        0.2
    """
    search = DiceSearch(candidates)
    search.add(maps, masks)
    return search.best()


class DiceSearch:
    """:func:`search_dice` over any number of volumes, of which one at a time is in memory.

    Args:
        candidates: thresholds to try, in [0, 1].

    Raises:
        ValueError: on a call, as :func:`search_dice`.

    Example:
        >>> search = DiceSearch([0.05, 0.2, 0.5])
        >>> search.add(torch.tensor([[[[0.1, 0.3, 0.7, 0.9]]]]), torch.tensor([[[[0, 1, 1, 1]]]]))
        >>> search.best()
        0.2
    """

    def __init__(self, candidates: Sequence[float] = CANDIDATES) -> None:
        self.candidates = sorted(candidates)
        self._dice: list[torch.Tensor] = []

    def add(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        """Add validation slices: maps ``(N, 1, H, W)`` in [0, 1] and their masks of the same shape."""
        _check_unit_maps(maps)
        if masks.shape != maps.shape:
            raise ValueError(f"expected masks of the shape of maps {tuple(maps.shape)}, found {tuple(masks.shape)}")
        grid, bins = _candidate_bins(maps, self.candidates)
        truth = (masks != 0).flatten(2).double()
        predicted = _binned_sums(bins, torch.ones_like(truth), len(grid))[:, 0, 1:]
        shared = _binned_sums(bins, truth, len(grid))[:, 0]
        size = predicted + shared[:, :1]
        self._dice.append(torch.where(size > 0, 2 * shared[:, 1:] / size.clamp(min=1), 1.0))

    @property
    def dice(self) -> torch.Tensor:
        """Dice ``(N, K)`` of every slice, in the order added, at each of ``candidates``, in increasing order."""
        return torch.cat(self._dice) if self._dice else torch.zeros(0, len(self.candidates))

    def mean_dice(self) -> dict[float, float]:
        """Mean Dice over all slices of each candidate."""
        dice = self.dice
        if len(dice) == 0:
            raise ValueError("expected at least one slice to search a threshold on, found none")
        return dict(zip(self.candidates, dice.mean(0).tolist(), strict=True))

    def best(self) -> float:
        """The threshold with the best mean Dice over all slices."""
        mean = self.mean_dice()
        return max(mean, key=mean.__getitem__)  # the first, which is the smallest, of equally good ones


def check_rule(rule: object) -> None:
    """Check a rule of :func:`map_threshold`."""
    if rule not in ("otsu", "midpoint") and not (isinstance(rule, float | int) and 0 < rule < 1):
        raise ValueError(
            f"expected rule 'otsu', 'midpoint' or a fraction of the map's maximum between 0 and 1, found {rule!r}"
        )


def check_maps(maps: torch.Tensor, name: str = "maps") -> None:
    """Check that maps are finite and ``(B, 1, H, W)``; ``name`` is the name of the argument in messages."""
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"expected {name} of shape (B, 1, H, W), found {tuple(maps.shape)}; fuse the layers first")
    if not torch.isfinite(maps).all():
        raise ValueError(f"expected finite {name}, found NaN or infinity")


def _check_unit_maps(maps: torch.Tensor) -> None:
    check_maps(maps)
    if maps.numel() and (maps.min() < -_ROUNDING or maps.max() > 1 + _ROUNDING):
        raise ValueError(
            f"expected maps in [0, 1], found {maps.min().item():.3g} to {maps.max().item():.3g}; "
            "divide each by its maximum first (camtools.fusion.normalize_max)"
        )


def _candidate_bins(maps: torch.Tensor, candidates: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted candidates ``(K,)`` and, for each pixel, how many of them it exceeds: ``(B, 1, H * W)`` in 0..K."""
    if len(candidates) == 0:
        raise ValueError("expected at least one candidate threshold, found none")
    grid = torch.tensor(sorted(candidates), dtype=torch.float32, device=maps.device)
    return grid, torch.bucketize(maps.flatten(2).float(), grid)


def _binned_sums(bins: torch.Tensor, values: torch.Tensor, count: int) -> torch.Tensor:
    """Sums ``(B, C, count + 1)`` of ``values`` ``(B, C, N)`` over pixels that exceed at least 0..count candidates."""
    sums = values.new_zeros(*values.shape[:2], count + 1)
    return _sums_from(sums.scatter_add_(2, bins.expand_as(values), values))


def _sums_from(bins: torch.Tensor) -> torch.Tensor:
    """Sum of each bin and all after it, along the last axis."""
    return bins.flip(-1).cumsum(-1).flip(-1)


def _variance(count: torch.Tensor, total: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """Population variance; NaN for an empty class."""
    return (square / count - (total / count) ** 2).clamp(min=0.0)
