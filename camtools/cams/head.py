"""The head of a classifier that averages its last feature map: the linear layer or 1x1 convolution that weights it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Head", "head_mismatch", "linear_heads"]

Head = nn.Linear | nn.Conv2d | nn.Conv3d


def linear_heads(model: nn.Module) -> dict[str, Head]:
    """Linear layers and 1x1 convolutions of a model by name, in its own order: the last one is usually the head.

    Example:
        >>> from torch import nn
        >>> list(linear_heads(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1))))
        ['1']
    """
    heads: dict[str, Head] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d | nn.Conv3d) and all(size == 1 for size in module.kernel_size)
        ):
            heads[name] = module
    return heads


def head_mismatch(head: Head, name: str, features: Tensor, logits: Tensor, tolerance: float = 0.01) -> str | None:
    r"""Check that logits are the head of the global average of a layer.

    .. math:: y_c = \sum_k w_{ck} \frac{1}{N} \sum_i f_k(i) + b_c

    Args:
        head: the layer with weights w and bias b.
        name: name of the layer whose activations are averaged, for the message.
        features: its activations f, ``(B, K, *spatial)``.
        logits: y, ``(B, classes)``.
        tolerance: largest difference, as a share of the summed magnitudes of the terms. The default covers TF32 and
            heads in half precision whose logits are float32; for logits of half precision it is always at least their
            rounding.

    Returns:
        None where it holds; otherwise what does not fit, for an error.
    """
    weights = head.weight.flatten(1).float()
    averages = features.flatten(2).mean(dim=2, dtype=torch.float32)
    if weights.shape != (logits.shape[1], averages.shape[1]):
        return (
            f"expected a head with {averages.shape[1]} inputs, the channels of layer {name!r}, and "
            f"{logits.shape[1]} outputs, found {head} with weights {tuple(weights.shape)}"
        )
    bias = weights.new_zeros(()) if head.bias is None else head.bias.float()
    terms = averages[:, None] * weights
    magnitude = terms.abs().sum(dim=2) + bias.abs() + 1e-6
    share = max(tolerance, 4 * torch.finfo(logits.dtype).eps)
    if bool(((terms.sum(dim=2) + bias - logits).abs() > share * magnitude).any()):
        return f"expected logits that are the head of the global average of layer {name!r}, found others ({head})"
    return None
