"""Geodesic distance and pseudo-label, pixel by pixel from the equations of UM-CAM, section 2.2."""

from __future__ import annotations

import heapq
import math

import torch

NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def reference_geodesic_distance(image: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """Eq. 6-7 for one slice ``(C, H, W)`` and its seeds ``(H, W)``: Dijkstra on the 8-neighbour grid."""
    height, width = seeds.shape
    values = image.double().permute(1, 2, 0).tolist()
    distance = {(row, column): math.inf for row in range(height) for column in range(width)}
    queue = [(0.0, row, column) for row, column in seeds.nonzero().tolist()]
    for _, row, column in queue:
        distance[row, column] = 0.0
    while queue:
        reached, row, column = heapq.heappop(queue)
        if reached > distance[row, column]:
            continue
        for down, right in NEIGHBOURS:
            target = (row + down, column + right)
            if target not in distance:
                continue
            step = sum(abs(a - b) for a, b in zip(values[row][column], values[target[0]][target[1]], strict=True))
            if reached + step < distance[target]:
                distance[target] = reached + step
                heapq.heappush(queue, (reached + step, *target))
    return torch.tensor([[distance[row, column] for column in range(width)] for row in range(height)])


def reference_spl(
    image: torch.Tensor, background: torch.Tensor, foreground: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Eq. 5 normalised to sum 1, for one slice ``(C, H, W)`` and seeds ``(H, W)``: ``(2, H, W)`` in float64."""
    values = image.double()
    scored = torch.stack([(channel - channel.mean()) / channel.std(correction=0) for channel in values])
    cues = torch.stack(
        [torch.exp(-alpha * reference_geodesic_distance(scored, seeds).double()) for seeds in (background, foreground)]
    )
    return cues / cues.sum(0)
