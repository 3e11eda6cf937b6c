"""The probability that a classifier gives a class, image by image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from camtools.cams.capture import evaluation_mode
from camtools.cams.passes import images_per_pass, prepare_images
from camtools.cams.targets import as_logits, class_indices, confidences

__all__ = ["image_confidences"]


def image_confidences(network: nn.Module, images: Tensor, target: int = 1, batch_size: int | None = None) -> Tensor:
    """Probability of a class in every image: the sigmoid of one logit, the softmax of several.

    The classifier runs in evaluation mode and without gradients, and gets its training flags back.

    Args:
        network: classifier that returns logits ``(B, K)``, on the device of the images.
        images: ``(B, C, H, W)``, cast to the type of the classifier's weights.
        target: class; 0 for a classifier of one logit.
        batch_size: images in one pass; None: what is fast on the device.

    Returns:
        ``(B,)`` in [0, 1], float32.

    Raises:
        ValueError: a class outside 0..K-1, or an output that is no logits.

    Example:
        >>> network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # the mean of each channel is its logit
        >>> image_confidences(network, torch.zeros(3, 2, 8, 8))
        tensor([0.5000, 0.5000, 0.5000])
    """
    with torch.no_grad(), evaluation_mode(network):
        prepared = prepare_images(images, network, channels_last=False)
        passes = prepared.split(images_per_pass(prepared, batch_size))
        logits = torch.cat([as_logits(network(part), len(part)) for part in passes]).float()
    return confidences(logits, class_indices(logits, target))
