"""The maps as the peers compute them, where that is not what the papers say, in formulas written from their results.

A peer's difference counts as explained when its formula, on our own activations and gradients, gives its map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from cams_tasks import Maps, Task
from torch import Tensor, nn
from torch.nn import functional

from camtools.cams.capture import activation_gradients, forward_with_activations
from camtools.cams.full_grad import bias_layers, layer_bias

Formula = Callable[[Tensor, Tensor], Tensor]


def variant(task: Task, library: str) -> Maps | None:
    """Raw maps by the formula of a library; None where it is the paper's."""
    if (library, task.method) == ("pytorch-grad-cam", "fullgrad"):
        return [full_grad_epsilon(task)]
    if task.method == "scorecam":
        return score_cam_masks(task, MASKS[library])
    formula = FORMULAS.get((library, task.method))
    if formula is None:
        return None
    with torch.no_grad():
        logits, activations = forward_with_activations(task.model, task.layers, task.images, differentiable=True)
    gradients = activation_gradients(logits, task.targets, activations)
    return [formula(activations[name].detach(), gradients[name]) for name in task.layers]


def weighted(activations: Tensor, weights: Tensor) -> Tensor:
    return (weights[:, :, None, None] * activations).sum(1).relu()


def grad_cam_pp_epsilon(activations: Tensor, gradients: Tensor) -> Tensor:
    """pytorch-grad-cam: 1e-6 is added to the denominator of eq. 19, whose terms are squares of gradients."""
    total = activations.sum((2, 3), keepdim=True)
    alpha = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
    return weighted(activations, (alpha * gradients.relu()).sum((2, 3)))


def grad_cam_pp_undivided(activations: Tensor, gradients: Tensor) -> Tensor:
    """torch-cam 0.5.0: the division by the denominator is written to a copy and lost: alpha is the squared gradient."""
    return weighted(activations, (gradients**2 * gradients.relu()).sum((2, 3)))


def grad_cam_pp_inner_sum(activations: Tensor, gradients: Tensor) -> Tensor:
    """MONAI: the cubed gradient stands inside the sum over positions, and 1e-7 is added."""
    total = (activations * gradients**3).sum((2, 3), keepdim=True)
    denominator = 2 * gradients**2 + total
    denominator = torch.where(denominator == 0, 1, denominator) + 1e-7
    return weighted(activations, (gradients**2 / denominator * gradients.relu()).sum((2, 3)))


def xgrad_cam_epsilon(epsilon: float) -> Formula:
    """Both: a small number is added to the sum of the activations."""

    def formula(activations: Tensor, gradients: Tensor) -> Tensor:
        sums = activations.sum((2, 3)) + epsilon
        return weighted(activations, (gradients * activations).sum((2, 3)) / sums)

    return formula


def masks_corners_aligned(channels: Tensor, size: torch.Size) -> Tensor:
    """pytorch-grad-cam: the corners are aligned in upsampling."""
    return _min_max(functional.interpolate(channels, size=size, mode="bilinear", align_corners=True), 1e-8)


def masks_scaled_before(channels: Tensor, size: torch.Size) -> Tensor:
    """torch-cam: channels are scaled to 0..1 first and upsampled afterwards, when they no longer reach 1."""
    return functional.interpolate(_min_max(channels, 1e-8), size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def score_cam_masks(task: Task, masks: Callable[[Tensor, torch.Size], Tensor]) -> Maps:
    """Score-CAM with other masks."""
    _, activations = forward_with_activations(task.model, task.layers, task.images, differentiable=False)
    maps = []
    for name in task.layers:
        scores = []
        for image, target, channels in zip(task.images, task.targets, activations[name], strict=True):
            for part in channels[:, None].split(16):
                scores.append(task.model(image * masks(part, image.shape[-2:]))[:, target])
        weights = torch.cat(scores).view(activations[name].shape[:2]).softmax(1)
        maps.append(weighted(activations[name], weights))
    return maps


def full_grad_epsilon(task: Task) -> Tensor:
    """pytorch-grad-cam: 1e-7 is added to the range by which each channel is divided."""
    edges, biases = [], []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        edges.append(torch.autograd.graph.get_gradient_edge(output))
        biases.append(layer_bias(module))

    handles = [task.model.get_submodule(name).register_forward_hook(hook) for name in bias_layers(task.model)]
    images = task.images.detach().requires_grad_()
    logits = task.model(images)
    for handle in handles:
        handle.remove()
    first, *others = torch.autograd.grad(logits.gather(1, task.targets[:, None]).sum(), [images, *edges])
    total = _channels(first * images.detach(), images.shape[2:])
    for bias, gradients in zip(biases, others, strict=True):
        total += _channels(bias[:, None, None] * gradients, images.shape[2:])
    return total


def _channels(products: Tensor, size: torch.Size) -> Tensor:
    summed = _min_max(products.abs(), 1e-7).sum(1, keepdim=True)
    return functional.interpolate(summed, size=size, mode="bilinear", align_corners=False)[:, 0]


def _min_max(values: Tensor, epsilon: float) -> Tensor:
    values = values - values.amin((2, 3), keepdim=True)
    return values / (values.amax((2, 3), keepdim=True) + epsilon)


MASKS = {"pytorch-grad-cam": masks_corners_aligned, "torch-cam": masks_scaled_before}
FORMULAS: dict[tuple[str, str], Formula] = {
    ("pytorch-grad-cam", "gradcampp"): grad_cam_pp_epsilon,
    ("torch-cam", "gradcampp"): grad_cam_pp_undivided,
    ("MONAI", "gradcampp"): grad_cam_pp_inner_sum,
    ("pytorch-grad-cam", "xgradcam"): xgrad_cam_epsilon(1e-7),
    ("torch-cam", "xgradcam"): xgrad_cam_epsilon(1e-8),
}
