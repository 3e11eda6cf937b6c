"""LTGrad-CAM, LTLayer-CAM and LTFullGrad: the layerization and truncation tricks for any map made from gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from camtools.cams.base import GradientActivationMap
from camtools.cams.full_grad import FullGrad, Normalize
from camtools.cams.grad_cam import grad_cam
from camtools.cams.layer_cam import layer_cam
from camtools.cams.layout import Reshape
from camtools.cams.targets import Target
from camtools.cams.truncation import check_percentile, truncate_gradients
from camtools.fusion import layer_sum

__all__ = ["LTActivationMap", "LTFullGrad", "LTGradCAM", "LTLayerCAM"]


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
        batch_size: images per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

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
        layers: Sequence[str | nn.Module],
        function: Callable[[Tensor, Tensor], Tensor],
        percentile: float = 20,
        batch_size: int | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__(model, layers, batch_size, reshape)
        check_percentile(percentile)
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

    The mean is over all N positions, not only the kept ones. The ReLU comes from Grad-CAM (eq. 3); eq. 11 leaves it
    out. It changes nothing where the activations are nowhere negative. The maps are not normalised before they
    are added; see :class:`LTActivationMap`.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 11; five stages of VGG-16 and percentile 20 in the paper.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, whose maps are added.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

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
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        percentile: float = 20,
        batch_size: int | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__(model, layers, grad_cam, percentile, batch_size, reshape)


class LTLayerCAM(LTActivationMap):
    """LTLayer-CAM: the sum over layers of Layer-CAM from truncated gradients; see :class:`LTActivationMap`.

    Layer-CAM ignores negative gradients itself, so percentile 0 is the layer sum of plain Layer-CAM.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 4-5 in eq. 10.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, whose maps are added.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

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
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        percentile: float = 20,
        batch_size: int | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__(model, layers, layer_cam, percentile, batch_size, reshape)


class LTFullGrad(FullGrad):
    """LTFullGrad: FullGrad from truncated gradients; the layers are added up in FullGrad itself.

    The gradients of the layers' feature maps are truncated (:func:`truncate_gradients`), each channel separately. The
    gradient of the input is not: eq. 9 truncates "a certain target feature map", which the input is not.

    Source: LTGrad-CAM (Dong et al., 2023), eq. 6-7 in eq. 10.

    Args:
        model: classifier that returns logits.
        layers: names of convolutions or normalisations with a bias; None takes all of them that run.
        percentile: of the positive gradients of each channel, in 0..100.
        batch_size: images per pass; None chooses.
        normalize: ``"channel"`` (the papers) or ``"layer"`` (the code of FullGrad's authors).

    Raises:
        ValueError: as :class:`FullGrad`, or a percentile outside 0..100.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> LTFullGrad(model)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module] | None = None,
        percentile: float = 20,
        batch_size: int | None = None,
        normalize: Normalize = "channel",
    ) -> None:
        super().__init__(model, layers, batch_size, normalize)
        check_percentile(percentile)
        self.percentile = percentile

    def relevant(self, gradients: Tensor) -> Tensor:
        """The truncated gradients of a layer."""
        return truncate_gradients(gradients, self.percentile)
