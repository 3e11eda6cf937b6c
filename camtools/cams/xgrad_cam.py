"""XGrad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams.base import GradientActivationMap
from camtools.cams.cam import class_activation_map
from camtools.cams.grad_cam import check_shapes

__all__ = ["XGradCAM", "xgrad_cam"]


def xgrad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    r"""XGrad-CAM of one layer: the mean gradient of each channel, weighted by the activation, weights the channel.

    .. math::
        w_k = \frac{\sum_i g_k(i) f_k(i)}{\sum_i f_k(i)}, \qquad A(i) = ReLU\Big(\sum_k w_k f_k(i)\Big)

    A channel whose activations sum to exactly zero gets weight 0. After a ReLU such a channel is zero everywhere and
    adds nothing whatever its weight; choose such layers: sums of mixed signs can be small and the weights then large.

    Source: Fu et al., Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs, BMVC 2020, the
    definition of XGrad-CAM.

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        gradients: :math:`g = \partial y / \partial f`, of the same shape.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: the shapes differ or have no spatial dimension.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> gradients = torch.tensor([[[[4.0, 0.0]], [[-0.5, 9.0]]]])  # weights 4 / 4 and -1 / 2
        >>> xgrad_cam(activations, gradients)
        tensor([[[[0., 3.]]]])
    """
    check_shapes(activations, gradients)
    channels = activations.flatten(2).to(torch.promote_types(activations.dtype, torch.float32))
    totals = channels.sum(dim=2)
    weights = (gradients.flatten(2) * channels).sum(dim=2) / totals.masked_fill(totals == 0, torch.inf)
    return class_activation_map(activations, weights)


class XGradCAM(GradientActivationMap):
    """XGrad-CAM of any layers of any classifier; see :func:`xgrad_cam` and :class:`~camtools.cams.base.ActivationMap`.

    Source: Fu et al., Axiom-based Grad-CAM, BMVC 2020.

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
        >>> XGradCAM(model, layers=model.cam_layers)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 5, 64, 64])
    """

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """XGrad-CAM of one layer, ``(B, 1, *spatial)``."""
        return xgrad_cam(activations, gradients)
