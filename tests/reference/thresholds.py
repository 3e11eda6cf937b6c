"""Thresholds, one slice and one candidate at a time."""

from __future__ import annotations

import statistics

import torch


def reference_intra_class_variance(image: torch.Tensor, cam: torch.Tensor, candidates: list[float]) -> float:
    """Candidate with the smallest mean of both intra-class variances of ``(C, H, W)``; midpoint if none is allowed."""
    best, lowest = None, float("inf")
    above = [[value > threshold for value in cam.flatten().tolist()] for threshold in map(_float32, candidates)]
    for threshold, inside in zip(candidates, above, strict=True):
        if all(inside) or not any(inside):
            continue
        variances = []
        for channel in image.double().flatten(1).tolist():
            for side in (True, False):
                members = [value for value, flag in zip(channel, inside, strict=True) if flag == side]
                variances.append(statistics.pvariance(members))
        score = sum(variances) / len(variances)
        if score < lowest * (1 - 1e-12):
            best, lowest = threshold, score
    return (cam.max().item() + cam.min().item()) / 2 if best is None else best


def reference_search_dice(maps: torch.Tensor, masks: torch.Tensor, candidates: list[float]) -> float:
    """Candidate with the highest mean Dice over the slices ``(N, 1, H, W)``; 1 where both masks are empty."""
    scores = []
    for threshold in candidates:
        dice = []
        for cam, mask in zip(maps, masks, strict=True):
            predicted, truth = _pixels(cam > threshold), _pixels(mask != 0)
            total = len(predicted) + len(truth)
            dice.append(2 * len(predicted & truth) / total if total else 1.0)
        scores.append(sum(dice) / len(dice))
    return candidates[scores.index(max(scores))]


def _pixels(mask: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(index) for index in mask.nonzero().tolist()}


def _float32(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32).item()
