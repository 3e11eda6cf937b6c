"""Gaussian filtering of scattered points on the permutohedral lattice, for many points at once."""

from __future__ import annotations

import itertools
import operator

import torch

_LARGEST_KEY = 2**62


class PermutohedralLattice:
    r"""Symmetrically normalised Gaussian filter of scattered points, in time linear in their number.

    .. math:: v'_i = \sum_j \frac{k(f_i, f_j)}{\sqrt{n_i n_j}} v_j, \quad n_i = \sum_j k(f_i, f_j), \quad
        k(f_i, f_j) \approx e^{-\|f_i - f_j\|^2 / 2}

    In d dimensions, each point gives its value to the d + 1 corners of the simplex it lies in, by its barycentric
    coordinates; the corners are blurred with (1, 2, 1) / 2 along d + 1 directions; each point reads the result at the
    same corners. Only corners that some point touches exist, which is where the Gaussian is cut short.

    A corner has d + 1 integer coordinates of sum 0, all with the same remainder r modulo d + 1, so r and the first d
    quotients name it. They and the group are the digits of one 64-bit key, which makes a neighbour a matter of adding a
    constant to the key, and the list of corners a matter of sorting.

    Args:
        features: coordinates of the points, ``(d, N)``, float32, finite, each divided by the standard deviation wanted.
        groups: how many groups of N / groups consecutive points there are; groups do not see each other.

    Raises:
        ValueError: the points spread too far apart for 64-bit keys.

    Source:
        Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010;
        normalisation: Kraehenbuehl and Koltun, "Parameter Learning and Convergent Inference for Dense Random Fields",
        ICML 2013.

    Example:
        >>> lattice = PermutohedralLattice(torch.tensor([[0.0, 0.0, 50.0]]))
        >>> lattice.filter(torch.tensor([[1.0, 3.0, 5.0]])).round(decimals=4)
        tensor([[2., 2., 5.]])
    """

    def __init__(self, features: torch.Tensor, groups: int = 1) -> None:
        quotients, ranks, self.weights = _enclosing_simplex(features)
        strides, keys = _corner_keys(quotients, ranks, groups)
        corners, self.corner_of = torch.unique(keys.flatten(), return_inverse=True)
        self.neighbours = _neighbours(corners, strides)
        # The filter is linear on both sides of the blur, so the weights carry the normalisation.
        self.weights = self.weights * self.filter(torch.ones_like(features[:1])).rsqrt()

    def filter(self, values: torch.Tensor) -> torch.Tensor:
        """Filter ``(K, N)`` float32 values, each row separately, without waiting for the device."""
        rows = len(values)
        corner_of = self.corner_of.expand(rows, -1)
        spread = (values[:, None] * self.weights).flatten(1)
        # The last column is the corner that is not there: it is 0 and stays 0.
        on_corners = values.new_zeros(rows, self.neighbours.shape[-1]).scatter_add_(1, corner_of, spread)
        for before, after in self.neighbours:
            beside = on_corners.gather(1, before.expand(rows, -1)) + on_corners.gather(1, after.expand(rows, -1))
            on_corners = on_corners.add(beside, alpha=0.5)
        read = on_corners.gather(1, corner_of).reshape(rows, *self.weights.shape)
        return read.mul_(self.weights).sum(1)


def _enclosing_simplex(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Simplex that each point lies in.

    Returns:
        Quotients ``(d + 1, N)`` of its corner of remainder 0; ranks ``(d + 1, N)`` of the point's coordinates relative
        to that corner, 0 for the largest; barycentric coordinates ``(d + 1, N)``, by the remainder of the corner.
    """
    size = len(features) + 1
    elevated = _elevate(features)
    quotients = (elevated / size).round()
    offset = elevated - size * quotients
    ranks = torch.zeros_like(offset, dtype=torch.int64)
    for i in range(size):
        for j in range(i + 1, size):
            smaller = offset[i] < offset[j]
            ranks[i] += smaller
            ranks[j] += ~smaller
    # Rounding leaves the plane of sum 0; the coordinates that were rounded the most come back.
    ranks += quotients.sum(0).long()
    correction = (ranks < 0).long() - (ranks >= size).long()
    ranks += size * correction
    quotients += correction
    offset = (elevated - size * quotients) / size
    falling = torch.empty_like(offset).scatter_(0, ranks, offset)
    last = 1 + falling[-1] - falling[0]
    weights = torch.cat([last[None], (falling[:-1] - falling[1:]).flip(0)])
    return quotients.long(), ranks, weights


def _elevate(features: torch.Tensor) -> torch.Tensor:
    """Rotate ``(d, N)`` points into the plane of sum 0 of d + 1 dimensions, scaled so that the blur has variance 1."""
    d = len(features)
    index = torch.arange(1, d + 1, device=features.device, dtype=features.dtype)[:, None]
    scaled = features * (d + 1) * (2 / 3 / (index * (index + 1))).sqrt()
    zero = torch.zeros_like(scaled[:1])
    tail = torch.cat([scaled, zero]).flip(0).cumsum(0).flip(0)
    return tail - torch.cat([zero, index * scaled])


def _corner_keys(quotients: torch.Tensor, ranks: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Strides ``(d + 1,)`` of the quotients in a key (0 for the last one), and keys ``(d + 1, N)`` by remainder."""
    size, points = quotients.shape
    low, high = quotients[:-1].amin(1), quotients[:-1].amax(1)
    # A corner's quotient may be 1 below that of the first corner, and a neighbour's 1 further on either side.
    digits: list[int] = (high - low + 4).tolist()
    places = list(itertools.accumulate(digits, operator.mul, initial=size))
    if places[-1] * groups > _LARGEST_KEY:
        raise ValueError(
            f"expected points that span fewer lattice cells, found {digits} cells along the axes in {groups} groups; "
            "use larger standard deviations, smaller images or fewer at once"
        )
    strides = torch.tensor([*places[:-1], 0], device=quotients.device)
    first = ((quotients[:-1] - low[:, None] + 2) * strides[:-1, None]).sum(0)
    group = torch.arange(groups, device=quotients.device).repeat_interleave(points // groups)
    # From one remainder to the next, every coordinate grows by 1 and the one of the highest rank left wraps around.
    wrapping = torch.empty_like(ranks).scatter_(0, ranks, strides[:, None].expand_as(ranks)).flip(0)
    steps = torch.cat([(first + group * places[-1])[None], 1 - wrapping[:-1]])
    return strides, steps.cumsum(0)


def _neighbours(corners: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Index of both neighbours of M sorted corners in each direction, ``(d + 1, 2, M + 1)``; M: not there."""
    count, size = len(corners), len(strides)
    own = torch.arange(count + 1, device=corners.device)
    table = torch.full((size, 2, count + 1), count, device=corners.device)
    # All coordinates fall by 1, that of the direction rises by d: without remainder, the quotients change as well.
    fall = torch.where(corners % size > 0, -1, size - 1 - strides.sum())
    for (before, after), stride in zip(table, strides, strict=True):
        wanted = corners + fall + stride
        place = torch.searchsorted(corners, wanted).clamp(max=count - 1)
        after[:-1] = torch.where(corners[place] == wanted, place, count)
        before.scatter_(0, after, own)
        before[-1] = count
    return table
