"""Seeds of UM-CAM, section 2.2, by plain loops."""

from __future__ import annotations

import torch

Pixel = tuple[int, int]


def reference_largest_component(mask: torch.Tensor) -> set[Pixel]:
    """Largest 8-connected set of True pixels of ``(H, W)`` by flood fill; the first in raster order among equals."""
    remaining = {(row, column) for row, column in mask.nonzero().tolist()}
    largest: set[Pixel] = set()
    for start in sorted(remaining):
        if start not in remaining:
            continue
        component, front = {start}, [start]
        remaining.discard(start)
        while front:
            row, column = front.pop()
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in remaining:
                    remaining.discard(near)
                    component.add(near)
                    front.append(near)
        if len(component) > len(largest):
            largest = component
    return largest


def reference_seeds(cam: torch.Tensor, threshold: float, margin: int) -> tuple[set[Pixel], set[Pixel]]:
    """Foreground and background seeds of one map ``(H, W)``."""
    component = reference_largest_component(cam > threshold)
    if not component:
        return set(), set()
    height, width = cam.shape
    centre = [round(sum(pixel[axis] for pixel in component) / len(component)) for axis in (0, 1)]
    foreground = min(sorted(component), key=lambda p: (p[0] - centre[0]) ** 2 + (p[1] - centre[1]) ** 2)
    rows, columns = ([pixel[axis] for pixel in component] for axis in (0, 1))
    corners = {
        (row, column)
        for row in (max(min(rows) - margin, 0), min(max(rows) + margin, height - 1))
        for column in (max(min(columns) - margin, 0), min(max(columns) + margin, width - 1))
    }
    background = corners - component
    outside = [(r, c) for r in range(height) for c in range(width) if (r, c) not in component]
    if not background and outside:
        background = {max(outside, key=lambda p: (p[0] - foreground[0]) ** 2 + (p[1] - foreground[1]) ** 2)}
    return {foreground}, background
