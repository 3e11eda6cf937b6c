"""FullGrad: the gradients of the input and of every bias, added up over all layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from camtools.cams.base import ActivationMap, upsample
from camtools.cams.capture import activation_gradients, lazy_clone
from camtools.cams.layers import bare_model
from camtools.cams.passes import eager
from camtools.cams.targets import Target, as_logits, class_indices
from camtools.cams.watch import Watch, without_checkpoints

__all__ = ["FullGrad", "bias_gradient_map", "bias_layers", "layer_bias"]

BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WITH_BIAS = (*CONVOLUTIONS, *BATCH_NORMS, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)

Normalize = Literal["channel", "layer"]


def layer_bias(layer: nn.Module) -> Tensor | None:
    r"""Bias that a convolution or normalisation adds to each channel in evaluation mode, ``(K,)``; None without one.

    Of a batch norm it is all that does not depend on its input:
    :math:`\beta - \gamma \mu / \sqrt{\sigma^2 + \epsilon}`. Other normalisations depend on their input in a way that is
    not linear; of them it is :math:`\beta`.

    Example:
        >>> layer_bias(torch.nn.Conv2d(1, 2, 3)).shape
        torch.Size([2])
    """
    bias: Tensor | None = getattr(layer, "bias", None)
    if not isinstance(layer, BATCH_NORMS) or layer.running_mean is None or layer.running_var is None:
        return None if bias is None else bias.detach()
    scale = (layer.running_var + layer.eps).rsqrt()
    shift = -layer.running_mean * (scale if layer.weight is None else scale * layer.weight)
    return shift.detach() if bias is None else (shift + bias).detach()


def bias_layers(model: nn.Module) -> list[str]:
    """Names of the convolutions and normalisations that have a bias, in the order of ``model.named_modules()``.

    Example:
        >>> bias_layers(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.BatchNorm2d(2)))
        ['1']
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, WITH_BIAS) and layer_bias(module) is not None
    ]


def bias_gradient_map(gradients: Tensor, bias: Tensor, normalize: Normalize = "channel") -> Tensor:
    r"""Contribution of one layer to FullGrad, at the resolution of the layer.

    .. math::
        M(i) = \sum_k \mathrm{normalize}\big(|b_k \, g_k(i)|\big), \qquad
        \mathrm{normalize}(x) = \frac{x - \min x}{\max x - \min x}

    A channel (or layer) without any range, such as one with :math:`b_k = 0`, contributes zero. Upsampling is linear and
    done after the sum, which gives the sum of upsampled channels.

    Source: Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019, eq. 6;
    LTGrad-CAM (Dong et al., 2023), eq. 6-7.

    Args:
        gradients: :math:`g = \partial y / \partial z` at the output z of the layer, ``(B, K, *spatial)``.
        bias: b, ``(K,)``.
        normalize: ``"channel"``: by the extremes of each channel, as in the equation; ``"layer"``: by the extremes
            over all channels of the layer, as in the authors' code.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: shapes that do not match, or another ``normalize``.

    Example:
        >>> gradients = torch.tensor([[[[2.0, -4.0, 0.0]], [[1.0, 2.0, 3.0]]]])  # two channels of 1 x 3 pixels
        >>> bias_gradient_map(gradients, torch.tensor([0.1, -1.0]))
        tensor([[[[0.5000, 1.5000, 1.0000]]]])
    """
    if normalize not in ("channel", "layer"):
        raise ValueError(f"expected normalize='channel' (papers) or 'layer' (authors' code), found {normalize!r}")
    if gradients.ndim < 3 or bias.shape != gradients.shape[1:2]:
        raise ValueError(
            f"expected gradients (B, K, *spatial) and bias (K,), found {tuple(gradients.shape)} and {tuple(bias.shape)}"
        )
    dtype = torch.promote_types(gradients.dtype, torch.float32)
    sizes, factors = gradients.flatten(2).abs().to(dtype), bias.abs().to(dtype)
    lowest, highest = sizes.amin(dim=2) * factors, sizes.amax(dim=2) * factors
    if normalize == "layer":
        lowest, highest = lowest.amin(dim=1, keepdim=True), highest.amax(dim=1, keepdim=True)
    ranges = highest - lowest
    scales = torch.where(ranges > torch.finfo(dtype).tiny, 1 / ranges, 0)
    with torch.autocast(gradients.device.type, enabled=False):
        summed = torch.einsum("bk,bkn->bn", factors * scales, sizes)
    summed -= (lowest * scales).expand(-1, len(factors)).sum(dim=1, keepdim=True)
    return summed.clamp_(min=0).view(len(gradients), 1, *gradients.shape[2:])


class FullGrad(ActivationMap):
    r"""FullGrad: how much the input and every bias, at every position, contribute to the logit.

    .. math::
        S = \psi\big(x \odot \partial y / \partial x\big) + \sum_l \psi\big(b^l \odot \partial y / \partial z^l\big)

    with :math:`\psi` the sum over channels of the upsampled, normalised absolute values (:func:`bias_gradient_map`).
    The products themselves, unnormalised, add up to the logit exactly in a network of linear layers, batch norms and
    ReLUs, the biases of linear layers included; these have no position and are left out of the map. One forward and
    one backward pass, down to the input; each layer's gradient is used as it passes and not kept.

    Source: Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, NeurIPS 2019, eq. 3 and
    6. LTGrad-CAM (eq. 6) writes the input's term without :math:`\psi`, where it could be negative.

    Args:
        model: classifier that returns logits.
        layers: names of convolutions or normalisations with a bias; None takes all of them that run, as both papers do.
        batch_size: images per pass; None chooses.
        normalize: ``"channel"`` (the papers) or ``"layer"`` (the authors' code).

    Raises:
        ValueError: an unknown layer name, a layer without bias, another ``normalize``, or a batch size below 1.

    Example:
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> FullGrad(model)(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module] | None = None,
        batch_size: int | None = None,
        normalize: Normalize = "channel",
    ) -> None:
        known = bias_layers(bare_model(model))
        if not known:
            raise ValueError(
                f"expected a convolution or normalisation with a bias, found none in {type(model).__name__}; use "
                "GradCAM instead"
            )
        super().__init__(model, known if layers is None else layers, batch_size)
        without = [name for name in self.layers if name not in known]
        if without:
            raise ValueError(
                f"expected layers that are convolutions or normalisations with a bias, found {without[0]!r} "
                f"({self.model.get_submodule(without[0])}); the model has {', '.join(known)}; layers=None takes all"
            )
        self.all_layers = layers is None
        self.normalize = normalize

    @property
    def maps_per_image(self) -> int:
        """One, since the layers are added up."""
        return 1

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the map of one chunk; see :meth:`ActivationMap.layer_maps`."""
        images = images.detach().requires_grad_()
        total = images.new_zeros((len(images), 1, *images.shape[2:]), dtype=torch.float32)
        ran: set[str] = set()
        handles = [
            self.model.get_submodule(name).register_forward_hook(partial(self._watch, name, ran, total))
            for name in self.layers
        ]
        try:
            with torch.enable_grad(), eager(self.model), without_checkpoints():
                with Watch(images):
                    output = self.model(lazy_clone(images))
                logits = as_logits(output, len(images))
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.layers if name not in ran]
        if missing and not self.all_layers:
            raise ValueError(f"expected layer {missing[0]!r} to run, but it did not; choose others, or layers=None")
        gradient = activation_gradients(logits, class_indices(logits, target), {"of the input": images})["of the input"]
        total += bias_gradient_map(gradient * images.detach(), total.new_ones(images.shape[1]), self.normalize)
        return [total]

    def relevant(self, gradients: Tensor) -> Tensor:
        """The gradients of a layer that enter the map: all of them."""
        return gradients

    def _watch(
        self, name: str, ran: set[str], total: Tensor, layer: nn.Module, inputs: tuple[object, ...], output: Tensor
    ) -> Tensor:
        ran.add(name)
        bias = layer_bias(layer)
        if bias is None or output.ndim != total.ndim:
            return output
        if len(output) != len(total):
            raise ValueError(
                f"expected layer {name!r} to run on one sample per image, found {len(output)} for {len(total)} images; "
                "choose other layers, or GradCAM"
            )
        if not output.requires_grad:  # it does not depend on the images, such as a fixed grid of positions
            output = output.detach().requires_grad_()

        def add(gradients: Tensor) -> None:
            with torch.no_grad():
                layer_map = bias_gradient_map(self.relevant(gradients), bias, self.normalize)
                total.add_(upsample(layer_map, total.shape[2:]))

        output.register_hook(add)
        return output
