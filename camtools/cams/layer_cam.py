"""Layer-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams.base import GradientActivationMap
from camtools.cams.grad_cam import check_shapes

__all__ = ["LayerCAM", "layer_cam"]


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    r"""Layer-CAM of one layer: each position of each channel is weighted by its own positive gradient.

    .. math:: A(i) = ReLU\Big(\sum_k ReLU(g_k(i)) f_k(i)\Big)

    Source: Jiang et al., LayerCAM, IEEE Transactions on Image Processing 2021; LTGrad-CAM (Dong et al., 2023), eq. 4-5.

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        gradients: :math:`g = \partial y / \partial f`, of the same shape.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: the shapes differ or have no spatial dimension.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> gradients = torch.tensor([[[[2.0, 0.5]], [[-1.0, 4.0]]]])
        >>> layer_cam(activations, gradients)
        tensor([[[[2., 1.]]]])
    """
    check_shapes(activations, gradients)
    gradients = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
    return (gradients.relu() * activations).sum(dim=1, keepdim=True).relu()


class LayerCAM(GradientActivationMap):
    """Layer-CAM of any layers of any classifier; see :func:`layer_cam` and :class:`~camtools.cams.base.ActivationMap`.

    Source: Jiang et al., LayerCAM, IEEE Transactions on Image Processing 2021.

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
        >>> LayerCAM(model, layers=model.cam_layers)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 5, 64, 64])
    """

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Layer-CAM of one layer, ``(B, 1, *spatial)``."""
        return layer_cam(activations, gradients)
