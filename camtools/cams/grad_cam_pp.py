"""Grad-CAM++."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams.base import GradientActivationMap
from camtools.cams.cam import class_activation_map
from camtools.cams.grad_cam import check_shapes

__all__ = ["GradCAMpp", "grad_cam_pp"]


def grad_cam_pp(activations: Tensor, gradients: Tensor) -> Tensor:
    r"""Grad-CAM++ of one layer: a weighted sum of the positive gradients of each channel weights the channel.

    .. math::
        \alpha_k(i) = \frac{g_k(i)^2}{2 g_k(i)^2 + \big(\sum_j f_k(j)\big) g_k(i)^3}, \qquad
        w_k = \sum_i \alpha_k(i) ReLU(g_k(i)), \qquad A(i) = ReLU\Big(\sum_k w_k f_k(i)\Big)

    This is the closed form for the exponential :math:`e^y` of the logit, whose derivatives are powers of g. Its
    factor :math:`e^y`, one number for all weights of a sample, is left out: it would only scale the maps, and
    overflow. Both sides of the fraction are divided by :math:`g^2`, so small gradients neither underflow nor need an
    epsilon; where g = 0 the weight is 0. Activations that are nowhere negative (after a ReLU) keep the divided
    denominator :math:`2 + g \sum f` at 2 or above; with others it may be negative, which follows the equation, or
    exactly zero, where :math:`\alpha = 0`.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, eq. 19.

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
        >>> gradients = torch.tensor([[[[2.0, 0.0]], [[-1.0, 0.0]]]])  # weights 2 / (2 + 3 * 2) and 0
        >>> grad_cam_pp(activations, gradients)
        tensor([[[[0.2500, 0.5000]]]])
    """
    check_shapes(activations, gradients)
    dtype = torch.promote_types(activations.dtype, torch.float32)
    sums = activations.flatten(2).sum(dim=2, keepdim=True, dtype=dtype)
    positive = gradients.flatten(2).to(dtype).relu()
    denominators = (positive * sums).add_(2)
    if (sums < 0).any():
        denominators.masked_fill_(denominators == 0, torch.inf)
    return class_activation_map(activations, positive.div_(denominators).sum(dim=2))


class GradCAMpp(GradientActivationMap):
    """Grad-CAM++ of any layers of any classifier; see :func:`grad_cam_pp`, :class:`~camtools.cams.base.ActivationMap`.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, eq. 19.

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
        >>> GradCAMpp(model, layers=model.cam_layers)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 5, 64, 64])
    """

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Grad-CAM++ of one layer, ``(B, 1, *spatial)``."""
        return grad_cam_pp(activations, gradients)
