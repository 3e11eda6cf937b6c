"""Raster passes over a whole batch of slices at once, on any device torch knows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import pad

# Lowers distances (B, H, W) in place with one sweep down and one up of images (B, C, H, W).
Sweep = Callable[[torch.Tensor, torch.Tensor], None]


def load_sweep(backend: str) -> Sweep:
    """Sweep of the backend ``"triton"`` or ``"torch"``."""
    if backend == "triton":
        from camtools.geodesic.triton_sweep import sweep_down_up as triton_sweep

        return triton_sweep
    return sweep_down_up


@torch.no_grad()
def solve(images: torch.Tensor, seeds: torch.Tensor, passes: int | None, sweep: Sweep) -> torch.Tensor:
    """Distances ``(B, H, W)`` for float32 ``images`` ``(B, C, H, W)`` and boolean ``seeds`` ``(B, H, W)``."""
    distance = torch.zeros(seeds.shape, device=images.device).masked_fill(~seeds, torch.inf)
    images_transposed = images.transpose(2, 3).contiguous()
    active = torch.arange(len(images), device=images.device)
    done = 0
    while len(active) and done != passes:
        before = distance[active]
        after = before.clone()
        sweep(images[active], after)
        # A left-right sweep is a top-down sweep of the transposed slice.
        transposed = after.transpose(1, 2).contiguous()
        sweep(images_transposed[active], transposed)
        after = transposed.transpose(1, 2)
        distance[active] = after
        active = active[(after != before).flatten(1).any(1)]
        done += 1
    return distance


def sweep_down_up(images: torch.Tensor, distance: torch.Tensor) -> None:
    """Plain torch sweep: rows one after another, all columns and slices of a row together."""
    _sweep_down(images, distance)
    upside_down = distance.flip(1)
    _sweep_down(images.flip(2), upside_down)
    distance.copy_(upside_down.flip(1))


def _sweep_down(images: torch.Tensor, distance: torch.Tensor) -> None:
    """Relax each row of ``distance`` in place from the three neighbours in the row before."""
    behind = pad(images[:, :, :-1], (1, 1)).unfold(3, 3, 1)
    cost = (images[:, :, 1:, :, None] - behind).abs().sum(1)
    for row in range(1, distance.shape[1]):
        reach = pad(distance[:, row - 1], (1, 1), value=torch.inf).unfold(1, 3, 1)
        best = (reach + cost[:, row - 1]).amin(-1)
        torch.minimum(distance[:, row], best, out=distance[:, row])
