"""LTGrad-CAM and LTLayer-CAM: the layerization and truncation tricks for any map made from gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from camtools.cams.base import GradientActivationMap
from camtools.cams.grad_cam import grad_cam
from camtools.cams.layer_cam import layer_cam
from camtools.cams.targets import Target
from camtools.fusion import layer_sum

__all__ = ["LTActivationMap", "LTGradCAM", "LTLayerCAM", "truncate_gradients"]


def truncate_gradients(gradients: Tensor, percentile: float) -> Tensor:
    r"""Truncation trick: keep the large positive gradients of each channel, set all others to zero.

    .. math:: g_k(i) \mapsto \mathbb{I}(g_k(i) \ge \delta_k) \, g_k(i)

    where :math:`\delta_k` is the percentile of the positive gradients of channel k, with linear interpolation as in
    ``numpy.percentile``. Percentile 0 keeps every positive gradient, 100 only the largest; a channel without a
    positive gradient becomes zero. Eq. 10 and 11 of the paper write > instead of the >= of eq. 9; only >= keeps every
    positive gradient at percentile 0, and a channel whose positive gradients are all equal.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 9.

    Args:
        gradients: ``(B, K, *spatial)``, floating point.
        percentile: in 0..100.

    Returns:
        ``(B, K, *spatial)``, >= 0, of the type and on the device of the gradients; NaN stays NaN.

    Raises:
        ValueError: a percentile outside 0..100 or gradients without spatial dimension.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[[1.0, 3.0, -8.0, 2.0, 5.0]]])  # positive: 1, 2, 3, 5; their median is 2.5
        >>> truncate_gradients(gradients, percentile=50)
        tensor([[[0., 3., 0., 0., 5.]]])
    """
    _check_percentile(percentile)
    if gradients.ndim < 3:
        raise ValueError(f"gradients must be (B, K, *spatial), got shape {tuple(gradients.shape)}")
    flat = gradients.flatten(2).relu()
    ascending = flat.sort(dim=2).values
    count = (ascending > 0).sum(dim=2, keepdim=True)
    # A value reaches a percentile interpolated between two neighbours just when it reaches the upper neighbour. That
    # one is a value of the channel itself: the same threshold without rounding, in half precision too.
    rank = ((count - 1).double() * percentile / 100).ceil().long()
    last = flat.shape[2] - 1
    threshold = ascending.gather(2, (last + 1 - count + rank).clamp(max=last))
    return flat.masked_fill(flat < threshold, 0).view_as(gradients)


class LTActivationMap(GradientActivationMap):
    r"""The layerization and truncation tricks, as a plug-in for any map made from activations and gradients.

    .. math:: S = \sum_l \psi\big(M(f^l, \mathbb{I}(g^l \ge \delta) \, g^l)\big)

    The gradients of each layer are truncated (:func:`truncate_gradients`) before the map M is made, and the maps of all
    layers, upsampled to the input size (:math:`\psi`), are added. They are not normalised before they are added: in the
    paper :math:`\psi` is the interpolation alone (only FullGrad, eq. 7, normalises its maps), so a layer with larger
    values weighs more.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 8-10.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, whose maps are added; the paper takes the outputs of the stages.
        function: :math:`M`, from activations and gradients ``(B, K, *spatial)`` of one layer to its map
            ``(B, 1, *spatial)``, >= 0, such as :func:`~camtools.cams.grad_cam`.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per forward pass; None takes all at once.

    Raises:
        ValueError: an unknown layer name, a percentile outside 0..100 or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.cams import xgrad_cam
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> cam = LTActivationMap(model, model.cam_layers, function=xgrad_cam, percentile=20)
        >>> cam(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        function: Callable[[Tensor, Tensor], Tensor],
        percentile: float = 20,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layers, batch_size)
        _check_percentile(percentile)
        self.function = function
        self.percentile = percentile

    def __call__(self, images: Tensor, target: Target = None) -> Tensor:
        """Compute the sum of the maps of all layers, ``(B, 1, *spatial)``; see :meth:`ActivationMap.__call__`."""
        return layer_sum(super().__call__(images, target))

    def layer_map(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Map of one layer from its truncated gradients, ``(B, 1, *spatial)``."""
        return self.function(activations, truncate_gradients(gradients, self.percentile))


class LTGradCAM(LTActivationMap):
    r"""LTGrad-CAM: the sum over layers of Grad-CAM from truncated gradients.

    .. math::
        S = \sum_l \psi\Big(ReLU\Big(\sum_k f_k^l \,
        \frac{1}{N_l} \sum_i \mathbb{I}(g_k^l(i) \ge \delta_k^l) \, g_k^l(i)\Big)\Big)

    The mean is over all N positions, not only those that are kept. The ReLU is that of Grad-CAM (eq. 3), which eq. 11
    leaves out; it changes
    nothing where the activations are nowhere negative. The maps are not normalised before they
    are added; see :class:`LTActivationMap`.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 11; five stages of VGG-16 and percentile 20 in the paper.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, whose maps are added.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per forward pass; None takes all at once.

    Raises:
        ValueError: an unknown layer name, a percentile outside 0..100 or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> LTGradCAM(model, layers=model.cam_layers)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], percentile: float = 20, batch_size: int | None = None
    ) -> None:
        super().__init__(model, layers, grad_cam, percentile, batch_size)


class LTLayerCAM(LTActivationMap):
    """LTLayer-CAM: the sum over layers of Layer-CAM from truncated gradients; see :class:`LTActivationMap`.

    Layer-CAM ignores negative gradients itself, so percentile 0 is the layer sum of plain Layer-CAM.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 4-5 in eq. 10.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, whose maps are added.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per forward pass; None takes all at once.

    Raises:
        ValueError: an unknown layer name, a percentile outside 0..100 or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> LTLayerCAM(model, layers=model.cam_layers)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], percentile: float = 20, batch_size: int | None = None
    ) -> None:
        super().__init__(model, layers, layer_cam, percentile, batch_size)


def _check_percentile(percentile: float) -> None:
    if not 0 <= percentile <= 100:  # also true of NaN
        raise ValueError(f"percentile must be in 0..100 (20 keeps the largest 80% of the positive), got {percentile}")
