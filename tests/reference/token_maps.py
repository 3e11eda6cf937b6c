"""Maps of layers that are not (B, K, *spatial): one image, one number at a time, with plain autograd and hooks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tests.reference.perturbation_maps import (
    reference_confidence,
    reference_confidence_weights,
    reference_mask,
    reference_score_cam_map,
    weighted_map,
)


def output_and_gradient(model: nn.Module, layer: str, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Output of a layer for an image (C, *spatial), without the batch axis, and the gradient of logit ``target``."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = model.get_submodule(layer).register_forward_hook(keep)
    model(image[None])[0, target].backward()
    handle.remove()
    model.zero_grad()
    assert kept[0].grad is not None
    return kept[0].detach()[0], kept[0].grad[0]


def spatial_from_last(values: Tensor) -> Tensor:
    """(h, w, K) or (d, h, w, K) to (K, ...), channel by channel."""
    return torch.stack([values[..., k] for k in range(values.shape[-1])])


def spatial_from_tokens(values: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, K) to (K, *grid): the last tokens, row by row."""
    first = len(values) - math.prod(grid)
    result = torch.zeros(values.shape[1], math.prod(grid), dtype=values.dtype)
    for position in range(math.prod(grid)):
        for k in range(values.shape[1]):
            result[k, position] = values[first + position, k]
    return result.view(-1, *grid)


def reference_token_score_cam(
    model: nn.Module, activation: Tensor, image: Tensor, target: int, read: Callable[[Tensor], Tensor]
) -> Tensor:
    """Score-CAM at the resolution of the layer."""
    channels = read(activation)
    with torch.no_grad():
        scores = [
            float(model((image * reference_mask(channel, *image.shape[1:]))[None])[0, target]) for channel in channels
        ]
    return reference_score_cam_map(channels, [score - max(scores) for score in scores])


def reference_token_ablation_cam(
    model: nn.Module, layer: str, activation: Tensor, image: Tensor, target: int, read: Callable[[Tensor], Tensor]
) -> Tensor:
    """Ablation-CAM at the resolution of the layer: a channel, on the last axis, is zero in all tokens."""
    module = model.get_submodule(layer)
    weights = []
    with torch.no_grad():
        score = float(model(image[None])[0, target])
        for k in range(activation.shape[-1]):
            changed = activation.clone()
            changed[..., k] = 0
            hook = module.register_forward_hook(lambda m, i, o, changed=changed: changed.clone()[None])
            weights.append((score - float(model(image[None])[0, target])) / score)
            hook.remove()
    return weighted_map(read(activation), weights)


def reference_token_cfd_cam(
    model: nn.Module, activation: Tensor, image: Tensor, target: int, read: Callable[[Tensor], Tensor]
) -> Tensor:
    """Cfd-CAM at scale 1, not scaled by the confidence: (H, W)."""
    masks = [reference_mask(channel, *image.shape[1:]) for channel in read(activation)]
    confidences = [reference_confidence(model, image * mask, target) for mask in masks]
    weights = reference_confidence_weights(confidences, reference_confidence(model, torch.zeros_like(image), target))
    return torch.stack([weight * mask for weight, mask in zip(weights, masks, strict=True)]).sum(dim=0)
