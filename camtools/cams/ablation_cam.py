"""Ablation-CAM."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from camtools.cams.base import ActivationMap
from camtools.cams.cam import class_activation_map
from camtools.cams.capture import LayerOutput, forward_with_activations
from camtools.cams.head import Head, head_mismatch, linear_heads
from camtools.cams.layout import Layout, put_tensor, take_tensor
from camtools.cams.passes import copies_per_pass, eager
from camtools.cams.targets import Target, as_logits, class_indices

__all__ = ["AblationCAM", "ablation_cam"]

HEAD_TOLERANCE = 1e-3  # a head that is only nearly linear goes the long way

# From the channels to hide, (N, K), to activations (1, K, *spatial) of the first copy and logits (N, classes) of all.
AblatedPass = Callable[[Tensor], tuple[Tensor, Tensor]]


def ablation_cam(activations: Tensor, score: Tensor, ablated_scores: Tensor) -> Tensor:
    r"""Ablation-CAM of one layer: the share of the logit that is lost without a channel weights the channel.

    .. math:: w_k = \frac{y - y_k}{y}, \qquad A(i) = ReLU\Big(\sum_k w_k f_k(i)\Big)

    The map scales with :math:`1 / y`: it grows without bound as the logit comes near zero, and where the logit is
    negative, channels that *lower* it have positive weights. Where it is exactly zero, the share is undefined, and the
    map is zero.

    Source: Desai and Ramaswamy, Ablation-CAM, WACV 2020, the definition of the weights.

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        score: :math:`y`, ``(B,)``: the logit of the class.
        ablated_scores: :math:`y_k`, ``(B, K)``: that logit when channel k is set to zero.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> ablation_cam(activations, torch.tensor([4.0]), torch.tensor([[2.0, 5.0]]))  # weights 1/2 and -1/4
        tensor([[[[0., 1.]]]])
    """
    if score.shape != activations.shape[:1]:
        raise ValueError(f"expected score (B,) with B = {len(activations)}, found {tuple(score.shape)}")
    dtype = torch.promote_types(score.dtype, torch.float32)
    return _map_of_drops(activations, score, score.to(dtype)[:, None] - ablated_scores.to(dtype))


def _map_of_drops(activations: Tensor, score: Tensor, drops: Tensor) -> Tensor:
    score = score.to(drops.dtype)
    return class_activation_map(activations, drops / score.masked_fill(score == 0, torch.inf)[:, None])


class AblationCAM(ActivationMap):
    r"""Ablation-CAM of any layers of any classifier; see :func:`ablation_cam`.

    Where the logits are a linear head of the global average of the layer, which is checked on every call, setting a
    channel to zero takes :math:`w_{ck} \frac{1}{N} \sum_i f_k(i)` from the logit: one forward pass answers for all
    channels. For every other layer, the model runs once per channel of each image, on batches of copies of the image
    with one channel of the layer set to zero in each. A channel that is zero already needs no copy.

    In a layer of tokens, a channel is set to zero in all tokens, the class token included.

    The weights are small differences between large logits, and rounding in half precision would hide them. These
    passes therefore run in float32, also for models in half precision and under ``torch.autocast``. A model that
    itself casts its input to half precision cannot run so and raises torch's error.

    Source: Desai and Ramaswamy, Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization, WACV 2020.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, one map for each.
        batch_size: images, or copies of one, per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

    Raises:
        ValueError: an unknown layer name or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> AblationCAM(model, layers=model.cam_layers[-2:])(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 2, 64, 64])
    """

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk; see :meth:`ActivationMap.layer_maps`."""
        logits, outputs = forward_with_activations(
            self.model, self.layers, images, differentiable=False, reshape=self.reshape
        )
        indices = class_indices(logits, target)
        head = next(reversed(linear_heads(self.model).values()), None)
        maps = {}
        for name, output in outputs.items():
            features = output.activations
            if head is not None and head_mismatch(head, name, features, logits, HEAD_TOLERANCE) is None:
                maps[name] = _closed_form(head, features, logits, indices)
            else:
                maps[name] = self._from_passes(name, output, images, indices)
        return [maps[name] for name in self.layers]

    def _from_passes(self, name: str, output: LayerOutput, images: Tensor, indices: Tensor) -> Tensor:
        if output.layout.channel is None:
            raise ValueError(
                f"expected a reshape of layer {name!r} that keeps its channels, found one that mixes them, and "
                "AblationCAM sets one channel to zero at a time; use a reshape that moves axes and drops tokens only, "
                "or GradCAM"
            )
        alive = _channels_second(output.raw, output.layout).flatten(2).any(dim=2)
        weights = _wide_weights(self.model)
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        maps = []
        with torch.autocast(images.device.type, enabled=False), eager(self.model):
            for image, channels, index in zip(images.split(1), alive, indices, strict=True):
                passes = partial(_ablated_pass, self.model, weights, name, output.layout, image)
                maps.append(_map_from(passes, channels, index, copies_per_pass(image, self.batch_size)))
        return torch.cat(maps)


def _map_from(ablated_pass: AblatedPass, alive: Tensor, index: Tensor, most: int) -> Tensor:
    """Map ``(1, 1, *spatial)`` of one image from passes of at most ``most`` copies, one per channel that is not zero.

    The unchanged image is the first copy, and all passes have the same size: rounding changes the logits of all copies
    equally, and cancels in their differences.
    """
    hidden = torch.diag(alive)[alive]  # one row per copy, True at its channel
    hidden = torch.cat([hidden.new_zeros(1, len(alive)), hidden])
    passes = math.ceil(len(hidden) / most)
    size = math.ceil(len(hidden) / passes)
    padding = hidden.new_zeros(passes * size - len(hidden), len(alive))
    found = [ablated_pass(rows) for rows in torch.cat([hidden, padding]).split(size)]
    features, _ = found[0]
    scores = torch.cat([logits[:, index] for _, logits in found])[: len(hidden)]
    ablated = scores[0].repeat(len(alive)).masked_scatter(alive, scores[1:])
    return ablation_cam(features, scores[:1], ablated[None])


def _ablated_pass(
    model: nn.Module, weights: dict[str, Tensor], layer: str, layout: Layout, image: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """One pass of N copies of an image, with the channels ``hidden``, bool ``(N, K)``, set to zero in each copy.

    The hook changes a copy of the output: the model may use the same memory elsewhere.
    """
    kept = []

    def hide(module: nn.Module, inputs: object, output: object) -> object:
        value = cast(Tensor, take_tensor(output)).clone()  # one tensor, as the pass for the logits has checked
        channels = _channels_second(value, layout)
        channels.masked_fill_(hidden.view(*hidden.shape, *[1] * (channels.ndim - 2)), 0)
        kept.append(layout.read(value)[:1].clone())  # the model may write to what it is given
        return put_tensor(output, value)

    handle = model.get_submodule(layer).register_forward_hook(hide)
    try:
        copies = torch.cat([image] * len(hidden))
        output = functional_call(model, weights, (copies,)) if weights else model(copies)
    finally:
        handle.remove()
    return kept[0], as_logits(output, len(hidden))


def _wide_weights(model: nn.Module) -> dict[str, Tensor]:
    """Float32 copies, by name, of the parameters and buffers of half precision."""
    named = chain(model.named_parameters(), model.named_buffers())
    return {name: value.float() for name, value in named if value.dtype in (torch.bfloat16, torch.float16)}


def _channels_second(output: Tensor, layout: Layout) -> Tensor:
    """The output of a layer, in its own memory, as ``(B, K, ...)``."""
    return output.movedim((layout.batch, layout.channel or 0), (0, 1))


def _closed_form(head: Head, features: Tensor, logits: Tensor, indices: Tensor) -> Tensor:
    dtype = torch.promote_types(features.dtype, torch.float32)
    drops = head.weight.flatten(1)[indices].to(dtype) * features.flatten(2).mean(dim=2, dtype=dtype)
    return _map_of_drops(features, logits.gather(1, indices[:, None])[:, 0], drops)
