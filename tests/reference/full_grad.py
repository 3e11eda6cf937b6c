"""FullGrad from its definition: each bias gradient by moving one number, each channel normalised by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.reference.cams import reference_bilinear

STEP = 1e-6


def moved_logit(
    model: nn.Module, layer: str, image: Tensor, target: int, position: tuple[int, ...], by: float
) -> float:
    """Logit when one number of the layer's output is moved."""

    def move(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        changed = output.clone()
        changed[0][position] += by
        return changed

    handle = model.get_submodule(layer).register_forward_hook(move)
    with torch.no_grad():
        logit = float(model(image[None])[0, target])
    handle.remove()
    return logit


def bias_gradient(model: nn.Module, layer: str, image: Tensor, target: int) -> Tensor:
    """Derivative of the logit by the bias of every channel at every position, (K, h, w)."""
    shapes: list[torch.Size] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        model(image[None])
    handle.remove()
    gradient = torch.zeros(shapes[0][1:], dtype=torch.float64)
    for position in torch.cartesian_prod(*(torch.arange(size) for size in gradient.shape)).tolist():
        up = moved_logit(model, layer, image, target, tuple(position), STEP)
        down = moved_logit(model, layer, image, target, tuple(position), -STEP)
        gradient[tuple(position)] = (up - down) / (2 * STEP)
    return gradient


def reference_psi(product: Tensor, height: int, width: int, whole_layer: bool = False) -> Tensor:
    """Dong et al., eq. 7: |x|, scaled by its extremes, upsampled; summed over channels."""
    total = torch.zeros(height, width, dtype=product.dtype)
    for channel in product.abs():
        over = product.abs() if whole_layer else channel
        lowest, highest = float(over.min()), float(over.max())
        if highest - lowest > 1e-9:
            total += reference_bilinear((channel - lowest) / (highest - lowest), height, width)
    return total
