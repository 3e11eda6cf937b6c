"""Agreement of neighbouring slices: predictions averaged where the images are alike."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor

from camtools.transforms.maps import like_volume

__all__ = ["AverageAcrossSlicesd", "average_across_slices"]


def average_across_slices(values: Tensor, image: Tensor, strength: float = 1.0, sigma: float = 0.5) -> Tensor:
    r"""Average every pixel with the same pixel of both neighbouring slices, as far as their intensities agree.

    .. math::
        P'_z = \frac{P_z + \sum_{n = z \pm 1} w_n P_n}{1 + \sum_{n = z \pm 1} w_n}, \qquad
        w_n = s \exp\Big(-\frac{|I_z - I_n|^2}{2 \sigma^2 v}\Big)

    with the image I and its variance v. The squared difference and the variance are means over the channels, each with
    an intensity scale of its own. The first and the last slice have one neighbour.

    Args:
        values: ``(K, X, Y, Z)``, such as class probabilities; sums over K are kept.
        image: ``(C, X, Y, Z)``.
        strength: s >= 0, the weight of a neighbour with the same intensity.
        sigma: > 0, in standard deviations of the volume's intensities.

    Returns:
        ``(K, X, Y, Z)``.

    Raises:
        ValueError: a negative strength, or sigma not positive.

    Example:
        >>> image = torch.tensor([0.0, 0.0, 100.0]).reshape(1, 1, 1, 3)
        >>> average_across_slices(torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3), image).flatten()
        tensor([0.5000, 0.5000, 0.0000])
    """
    if not strength >= 0 or not sigma > 0:
        raise ValueError(
            f"Expected a strength of at least 0 and a sigma above 0, found {strength} and {sigma}. Correct them."
        )
    variance = image.float().flatten(1).var(dim=1, correction=0).mean()
    scale = 2 * sigma**2 * variance.clamp(min=1e-12)
    difference = (image[..., 1:].float() - image[..., :-1].float()).square().mean(dim=0, keepdim=True)
    weights = strength * torch.exp(-difference / scale)
    total = values.clone()
    norm = torch.ones_like(values[:1])
    total[..., 1:] += weights * values[..., :-1]
    total[..., :-1] += weights * values[..., 1:]
    norm[..., 1:] += weights
    norm[..., :-1] += weights
    return total / norm


class AverageAcrossSlicesd(Transform):
    """Apply ``average_across_slices`` to the predictions of a volume.

    Args:
        strength: weight of a neighbouring slice with the same intensity; 0 changes nothing.
        sigma: in standard deviations of the volume's intensities.
        image_key: prepared volume ``(C, X, Y, Z)``.
        pred_key: class probabilities ``(K, X, Y, Z)``.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(
        self, strength: float = 1.0, sigma: float = 0.5, image_key: str = "image", pred_key: str = "pred"
    ) -> None:
        self.strength = strength
        self.sigma = sigma
        self.image_key = image_key
        self.pred_key = pred_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the predictions of one volume."""
        result = dict(data)
        volume = result[self.pred_key]
        values = volume.as_tensor()
        image = result[self.image_key].as_tensor().to(values.device)
        result[self.pred_key] = like_volume(average_across_slices(values, image, self.strength, self.sigma), volume)
        return result
