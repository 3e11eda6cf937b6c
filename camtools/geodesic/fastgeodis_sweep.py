"""FastGeodis as a backend, to compare with and to reproduce figures made with it."""

from __future__ import annotations

import torch

# FastGeodis starts from `v * mask`; this `v` stands for "not reached yet" and is far above any distance.
_UNREACHED = 1e10
_CHECK_EVERY = 4


def solve(images: torch.Tensor, seeds: torch.Tensor, passes: int | None) -> torch.Tensor:
    """Distances ``(B, H, W)`` for float32 ``images`` ``(B, C, H, W)`` and boolean ``seeds`` ``(B, H, W)``.

    FastGeodis takes one slice at a time. It uses the CUDA device of ``images`` where its build has CUDA, else the CPU.
    """
    distances = [_solve_slice(images[i : i + 1], seeds[i : i + 1, None], passes) for i in range(len(images))]
    return torch.cat([torch.empty_like(seeds[:0], dtype=torch.float32), *distances])


def _solve_slice(image: torch.Tensor, seeds: torch.Tensor, passes: int | None) -> torch.Tensor:
    distance = _UNREACHED * (~seeds).to(torch.float32)
    if passes is not None:
        return _iterate(image, distance, passes)[:, 0]
    while True:
        lower = _iterate(image, distance, _CHECK_EVERY)
        if torch.equal(lower, distance):
            return lower[:, 0]
        distance = lower


def _iterate(image: torch.Tensor, start: torch.Tensor, iterations: int) -> torch.Tensor:
    """Lower the distances ``start``: with v = 1 the soft mask of FastGeodis is the distance it starts from."""
    import FastGeodis

    try:
        lower: torch.Tensor = FastGeodis.generalised_geodesic2d(image, start, 1.0, 1.0, iterations)
    except RuntimeError as error:
        if "Not compiled with CUDA" not in str(error):
            raise
        lower = _iterate(image.cpu(), start.cpu(), iterations).to(image.device)
    return lower
