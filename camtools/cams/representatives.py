"""Predict the confidences of all channels from a few: channels with similar masks have similar confidences."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["channel_vectors", "predicted_confidences", "representative_channels"]

NOISE = 0.01  # variance of a logit beyond what the mask explains, relative to the prior's
SMALLEST = 1e-6  # of confidences, so that their logits are finite


def channel_vectors(activations: Tensor, ranges: tuple[Tensor, Tensor]) -> Tensor:
    """Masks of the channels at the resolution of the layer, flattened: ``(B, K, N)``, at least float32.

    Args:
        activations: ``(B, K, *spatial of the layer)``.
        ranges: of the channels, see :func:`camtools.cams.masks.channel_ranges`.
    """
    lowest, span = (values[..., None] for values in ranges)
    return (activations.flatten(2).to(lowest.dtype) - lowest) / span


def representative_channels(vectors: Tensor, share: float) -> Tensor:
    """Choose channels whose masks cover those of all channels, farthest point first (Gonzalez, 1985).

    The first channel has the smallest sum of distances to all others. Each further channel is the one farthest from the
    channels chosen so far. The largest distance from a mask to the nearest chosen one is then at most twice as large as
    for the best choice of as many channels.

    Args:
        vectors: masks ``(B, K, N)``, see :func:`channel_vectors`.
        share: share of the channels to choose, in (0, 1]; rounded up.

    Returns:
        Indices of the channels, ``(B, S)``.

    Example:
        >>> import torch
        >>> vectors = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
        >>> representative_channels(vectors, share=0.6)
        tensor([[0, 1]])
    """
    distances = torch.cdist(vectors, vectors)
    count = -int(-share * vectors.shape[1] // 1)
    chosen = torch.zeros((len(vectors), count), dtype=torch.int64, device=vectors.device)
    chosen[:, 0] = distances.sum(dim=2).argmin(dim=1)
    rows = torch.arange(len(vectors), device=vectors.device)
    remaining = distances[rows, chosen[:, 0]]
    for step in range(1, count):
        chosen[:, step] = remaining.argmax(dim=1)
        remaining = torch.minimum(remaining, distances[rows, chosen[:, step]])
    return chosen


def predicted_confidences(vectors: Tensor, chosen: Tensor, confidence: Tensor) -> Tensor:
    r"""Predict the confidences of all channels by Gaussian-process regression of the known logits on the masks.

    .. math:: \hat y = \bar y + k(H, H_S) \big(k(H_S, H_S) + \varepsilon I\big)^{-1} (y_S - \bar y), \qquad
        k(H, H') = \exp\Big(-\frac{\|H - H'\|^2}{2 \ell^2}\Big)

    with the logits :math:`y_S` of the chosen channels S, their mean :math:`\bar y`, the median distance :math:`\ell`
    from a channel to a chosen one, and :math:`\varepsilon = 0.01`. The chosen channels keep their own confidence.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.25.

    Args:
        vectors: masks ``(B, K, N)``, see :func:`channel_vectors`.
        chosen: ``(B, S)``, see :func:`representative_channels`.
        confidence: of the chosen channels, ``(B, S)`` in [0, 1].

    Returns:
        ``(B, K)`` in [0, 1].

    Example:
        >>> import torch
        >>> vectors = torch.tensor([[[0.0], [1.0], [0.5]]])
        >>> predicted_confidences(vectors, torch.tensor([[0, 1]]), torch.tensor([[0.2, 0.8]]))
        tensor([[0.2000, 0.8000, 0.5000]])
    """
    rows = torch.arange(len(vectors), device=vectors.device)[:, None]
    with torch.autocast(vectors.device.type, enabled=False):
        distances = torch.cdist(vectors, vectors[rows, chosen])
        width = distances.flatten(1).median(dim=1).values.clamp_(min=1e-12)[:, None, None]
        kernel = torch.exp(-((distances / width) ** 2) / 2)
        logits = torch.logit(confidence.to(kernel.dtype), eps=SMALLEST)
        mean = logits.mean(dim=1, keepdim=True)
        noise = NOISE * torch.eye(chosen.shape[1], dtype=kernel.dtype, device=kernel.device)
        solved = torch.linalg.solve(kernel[rows, chosen] + noise, (logits - mean)[..., None])
        predicted = torch.sigmoid(mean + (kernel @ solved)[..., 0])
    return predicted.scatter_(1, chosen, confidence.to(predicted.dtype))
