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

INFINITY_BITS = 0x7F800000  # of a float32; above it is NaN
LOWER_BITS = 20


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
    positive = gradients.relu()
    if percentile == 0 or gradients.numel() == 0:
        return positive
    thresholds = _thresholds(positive.flatten(2), percentile)
    return positive.masked_fill_(positive < thresholds.view(*gradients.shape[:2], *[1] * (gradients.ndim - 2)), 0)


def _thresholds(positive: Tensor, percentile: float) -> Tensor:
    """Least value of each row ``(B, K, N)`` that reaches the percentile of its values above zero, ``(B, K)``.

    A value reaches a percentile interpolated between two neighbours just when it reaches the upper neighbour. That one
    is a value of the channel itself: the same threshold without rounding, in half precision too.
    """
    if positive.device.type == "cpu" and positive.dtype != torch.float64:
        rows = positive.float().reshape(-1, positive.shape[2]).numpy().view(np.int32)
        found = torch.from_numpy(_select_in_threads(rows, percentile).view(np.float32))
        return found.view(positive.shape[:2]).to(positive.dtype)
    ascending = positive.sort(dim=2).values
    count = (ascending > 0).sum(dim=2, keepdim=True)
    rank = ((count - 1).double() * percentile / 100).ceil().long()
    last = positive.shape[2] - 1
    return ascending.gather(2, (last + 1 - count + rank).clamp(max=last))[:, :, 0]


def _select_in_threads(rows: NDArray[np.int32], percentile: float) -> NDArray[np.int32]:
    """Plain threads, not numba's own, which do not survive a fork (data-loader workers)."""
    found = np.zeros(len(rows), np.int32)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: _select(rows[first::threads], percentile, found[first::threads]), range(threads)))
    return found


@njit(nogil=True, cache=True)
def _select(rows: NDArray[np.int32], percentile: float, found: NDArray[np.int32]) -> None:
    """Selection in linear time, where a sort is not.

    The bits of positive floats, read as integers, are in the order of the floats. A histogram of their upper bits says
    in which bin the value sought lies; only the values of that bin are partitioned.
    """
    counts = np.empty(1 << (31 - LOWER_BITS), np.int64)
    candidates = np.empty(rows.shape[1], np.int32)
    for row in range(rows.shape[0]):
        counts[:] = 0
        for bits in rows[row]:
            if 0 < bits <= INFINITY_BITS:
                counts[bits >> LOWER_BITS] += 1
        total = counts.sum()
        if total == 0:
            continue
        rank, upper = math.ceil((total - 1) * percentile / 100), 0
        while rank >= counts[upper]:
            rank -= counts[upper]
            upper += 1
        number = 0
        for bits in rows[row]:
            if 0 < bits <= INFINITY_BITS and bits >> LOWER_BITS == upper:
                candidates[number] = bits
                number += 1
        found[row] = np.partition(candidates[:number], rank)[rank]
