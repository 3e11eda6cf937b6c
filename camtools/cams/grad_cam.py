"""Grad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams.base import GradientActivationMap
from camtools.cams.cam import class_activation_map

__all__ = ["GradCAM", "check_shapes", "grad_cam"]


def check_shapes(activations: Tensor, gradients: Tensor) -> None:
    """Check that activations and gradients of one layer belong together.

    Raises:
        ValueError: the shapes differ or have no spatial dimension.
    """
    if activations.shape != gradients.shape or activations.ndim < 3:
        raise ValueError(
            "expected activations and gradients of the same shape (B, K, *spatial), "
            f"found {tuple(activations.shape)} and {tuple(gradients.shape)}"
        )


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    r"""Grad-CAM of one layer: the mean gradient of each channel weights the channel.

    .. math::
        \alpha_k = \frac{1}{N} \sum_{i=1}^{N} \frac{\partial y}{\partial f_k(i)}, \qquad
        A(i) = ReLU\Big(\sum_k \alpha_k f_k(i)\Big)

    Source: Selvaraju et al., Grad-CAM, ICCV 2017; UM-CAM (Fu et al., 2023), eq. 1-2.

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        gradients: :math:`\partial y / \partial f`, of the same shape.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: the shapes differ or have no spatial dimension.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> gradients = torch.tensor([[[[2.0, 0.0]], [[-1.0, 0.0]]]])  # weights 1 and -0.5
        >>> grad_cam(activations, gradients)
        tensor([[[[0., 2.]]]])
    """
    check_shapes(activations, gradients)
    weights = gradients.flatten(2).mean(dim=2, dtype=torch.promote_types(gradients.dtype, torch.float32))
    return class_activation_map(activations, weights)


class GradCAM(GradientActivationMap):
    """Grad-CAM of any layers of any classifier; see :func:`grad_cam` and :class:`~camtools.cams.base.ActivationMap`.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017; UM-CAM (Fu et al., 2023), eq. 1-2.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, one map for each.
        batch_size: images per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

    Raises:
        ValueError: an unknown layer name or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> cam = GradCAM(model, layers=model.cam_layers)
        >>> cam(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 5, 64, 64])
    """

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Grad-CAM of one layer, ``(B, 1, *spatial)``."""
        return grad_cam(activations, gradients)
