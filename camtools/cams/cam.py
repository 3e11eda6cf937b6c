"""CAM: the classifier's own weights applied to its last feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from camtools.cams.base import ActivationMap
from camtools.cams.capture import forward_with_activations
from camtools.cams.head import Head, head_mismatch, linear_heads
from camtools.cams.layout import Reshape
from camtools.cams.targets import Target, class_indices

__all__ = ["CAM", "class_activation_map"]


def class_activation_map(activations: Tensor, weights: Tensor) -> Tensor:
    r"""Weighted sum of the channels of one layer, negative values set to zero.

    .. math:: A(i) = ReLU\Big(\sum_k w_k f_k(i)\Big)

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, eq. 2 (without the ReLU).

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        weights: :math:`w`, ``(B, K)``.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32, also under autocast.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> class_activation_map(activations, torch.tensor([[1.0, -0.5]]))
        tensor([[[[0., 2.]]]])
    """
    if activations.ndim < 3 or weights.shape != activations.shape[:2]:
        raise ValueError(
            "expected activations (B, K, *spatial) and weights (B, K), "
            f"found {tuple(activations.shape)} and {tuple(weights.shape)}"
        )
    dtype = torch.promote_types(activations.dtype, torch.float32)
    channels = activations.flatten(2).to(dtype)
    with torch.autocast(activations.device.type, enabled=False):
        summed = torch.einsum("bk,bkn->bn", weights.to(dtype), channels)
    return summed.relu().view(activations.shape[0], 1, *activations.shape[2:])


class CAM(ActivationMap):
    r"""CAM: the weights of the head, a linear layer or 1x1 convolution, applied to the feature map it averages.

    The model must compute its logits as the head of the global average of the layer (before or after the head, which
    is the same): :math:`y_c = \frac{1}{N} \sum_i \sum_k w_{ck} f_k(i) + b_c`. This is checked on every call. The map of
    class c is then :func:`class_activation_map` with :math:`w_c`; one forward pass, no backward pass.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, one map for each; usually the one before the head.
        batch_size: images per pass; None chooses.
        head: name of the linear layer or 1x1 convolution; None takes the last one of the model.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

    Raises:
        ValueError: an unknown layer name, no such head, or a batch size below 1; when called: logits that are not the
            head of the layer's average.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> CAM(model, layers=model.cam_layers[-1:])(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        batch_size: int | None = None,
        head: str | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__(model, layers, batch_size, reshape)
        self.head = _find_head(self.model, head)

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk; see :meth:`ActivationMap.layer_maps`."""
        logits, outputs = forward_with_activations(
            self.model, self.layers, images, differentiable=False, reshape=self.reshape
        )
        activations = {name: output.activations for name, output in outputs.items()}
        for name, features in activations.items():
            mismatch = head_mismatch(self.head, name, features, logits)
            if mismatch is not None:
                raise ValueError(
                    f"{mismatch}; choose the layer that the model averages, name its head with head=..., or use "
                    "GradCAM instead of CAM"
                )
        weights = self.head.weight.flatten(1)[class_indices(logits, target)]
        return [class_activation_map(activations[name], weights) for name in self.layers]


def _find_head(model: nn.Module, name: str | None) -> Head:
    heads = linear_heads(model)
    if not heads or name not in (None, *heads):
        raise ValueError(
            f"expected head to name a linear layer or 1x1 convolution, found {name!r} in {type(model).__name__}, which "
            f"has {', '.join(heads) or 'none'}; use GradCAM for models without a head"
        )
    return heads[name] if name is not None else list(heads.values())[-1]
