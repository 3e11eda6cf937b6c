# mypy: allow-untyped-decorators
"""The truncation trick: only the large positive gradients of each channel count."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["check_percentile", "truncate_gradients"]

LOWER_BITS = 20  # of a float32, those that the histogram does not look at
POSITIVE_BINS = (0x7F800000 >> LOWER_BITS) + 1  # up to that of infinity
SMALLEST = np.nextafter(np.float32(0), np.float32(1))


def check_percentile(percentile: float) -> None:
    """Refuse a percentile outside 0..100."""
    if not 0 <= percentile <= 100:  # also true of NaN
        raise ValueError(f"percentile must be in 0..100 (20 keeps the largest 80% of the positive), got {percentile}")


def truncate_gradients(gradients: Tensor, percentile: float) -> Tensor:
    r"""Truncation trick: keep the large positive gradients of each channel, set all others to zero.

    .. math:: g_k(i) \mapsto \mathbb{I}(g_k(i) \ge \delta_k) \, g_k(i)

    where :math:`\delta_k` is the percentile of the positive gradients of channel k, with linear interpolation as in
    ``numpy.percentile``. Percentile 0 keeps every positive gradient, 100 only the largest; a channel without a
    positive gradient becomes zero. Eq. 10 and 11 of the paper write > instead of the >= of eq. 9; only >= keeps every
    positive gradient at percentile 0, and a channel whose positive gradients are all equal.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 9.

    Args:
        gradients: ``(B, K, *spatial)``, floating point.
        percentile: in 0..100.

    Returns:
        ``(B, K, *spatial)``, >= 0, of the type and on the device of the gradients; NaN stays NaN.

    Raises:
        ValueError: a percentile outside 0..100 or gradients without spatial dimension.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[[1.0, 3.0, -8.0, 2.0, 5.0]]])  # positive: 1, 2, 3, 5; their median is 2.5
        >>> truncate_gradients(gradients, percentile=50)
        tensor([[[0., 3., 0., 0., 5.]]])
    """
    check_percentile(percentile)
    if gradients.ndim < 3:
        raise ValueError(f"gradients must be (B, K, *spatial), got shape {tuple(gradients.shape)}")
    if percentile == 0 or gradients.numel() == 0:
        return gradients.relu()
    if gradients.device.type == "cpu" and gradients.dtype != torch.float64:
        return _truncated_in_threads(gradients, percentile)
    positive = gradients.relu()
    thresholds = _thresholds(positive.flatten(2), percentile)
    return positive.masked_fill_(positive < thresholds.view(*gradients.shape[:2], *[1] * (gradients.ndim - 2)), 0)


def _thresholds(positive: Tensor, percentile: float) -> Tensor:
    """Least value of each row ``(B, K, N)`` that reaches the percentile of its values above zero, ``(B, K)``.

    A value reaches a percentile interpolated between two neighbours just when it reaches the upper neighbour. That one
    is a value of the channel itself: the same threshold without rounding, in half precision too.
    """
    ascending = positive.sort(dim=2).values
    count = (ascending > 0).sum(dim=2, keepdim=True)
    rank = ((count - 1).double() * percentile / 100).ceil().long()
    last = positive.shape[2] - 1
    return ascending.gather(2, (last + 1 - count + rank).clamp(max=last))[:, :, 0]


def _truncated_in_threads(gradients: Tensor, percentile: float) -> Tensor:
    """Plain threads, not numba's own, which do not survive a fork (data-loader workers)."""
    result = torch.empty(gradients.shape, dtype=torch.float32).copy_(gradients.detach())
    rows = result.view(-1, math.prod(gradients.shape[2:])).numpy()
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda block: _truncate(block, percentile), np.array_split(rows, threads)))
    return result.to(gradients.dtype)


@njit(nogil=True, cache=True)
def _truncate(rows: NDArray[np.float32], percentile: float) -> None:
    """Truncate rows in place; the threshold is selected in linear time, where a sort is not.

    The bits of positive floats, read as integers, are in the order of the floats. A histogram of their upper bits says
    in which bin the threshold lies, and only the values of that bin are partitioned. Negative numbers and NaN have bins
    of their own above those of the positive numbers.
    """
    counts = np.empty(1 << (32 - LOWER_BITS), np.int64)
    candidates = np.empty(rows.shape[1], np.uint32)
    for row in rows:
        values = row.view(np.uint32)
        counts[:] = 0
        for bits in values:
            counts[bits >> np.uint32(LOWER_BITS)] += 1
        counts[0] -= np.sum(values == 0)
        total = counts[:POSITIVE_BINS].sum()
        threshold = SMALLEST
        if total > 0:
            rank, upper = math.ceil((total - 1) * percentile / 100), 0
            while rank >= counts[upper]:
                rank -= counts[upper]
                upper += 1
            number = 0
            for bits in values:
                if bits >> np.uint32(LOWER_BITS) == upper and bits > 0:
                    candidates[number] = bits
                    number += 1
            threshold = np.partition(candidates[:number], rank)[rank : rank + 1].view(np.float32)[0]
        for i in range(len(row)):
            if row[i] < threshold:  # not true of NaN, which stays
                row[i] = 0
