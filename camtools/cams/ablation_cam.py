"""Ablation-CAM."""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from camtools.cams.base import ActivationMap
from camtools.cams.cam import class_activation_map
from camtools.cams.capture import forward_with_activations
from camtools.cams.head import Head, head_mismatch, linear_heads
from camtools.cams.layout import Layout
from camtools.cams.passes import copies_per_pass
from camtools.cams.replay import WAYS, Replay, Way, wide_weights
from camtools.cams.targets import Target, class_indices

__all__ = ["AblationCAM", "ablation_cam"]

HEAD_TOLERANCE = 1e-3  # a head that is only nearly linear goes the long way

# Elements of the copies of a layer's activations in one pass: near the caches of a CPU, or enough for an accelerator.
ELEMENTS = 1 << 23
ACCELERATOR_ELEMENTS = 1 << 26


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
        raise ValueError(f"expected score (B,) with B = {len(activations)}, got {tuple(score.shape)}")
    dtype = torch.promote_types(score.dtype, torch.float32)
    return _map_of_drops(activations, score, score.to(dtype)[:, None] - ablated_scores.to(dtype))


def _map_of_drops(activations: Tensor, score: Tensor, drops: Tensor) -> Tensor:
    score = score.to(drops.dtype)
    return class_activation_map(activations, drops / score.masked_fill(score == 0, torch.inf)[:, None])


class AblationCAM(ActivationMap):
    r"""Ablation-CAM of any layers of any classifier; see :func:`ablation_cam`.

    Where the logits are a linear head of the global average of the layer, which is checked on every call, setting a
    channel to zero takes :math:`w_{ck} \frac{1}{N} \sum_i f_k(i)` from the logit: one forward pass answers for all
    channels. For every other layer, only the part of the model after it runs again, on batches of copies with one
    channel set to zero each (``camtools.cams.replay.Replay``). A channel that is zero already needs no copy.

    Of tokens, a channel is set to zero in all of them, the class token included.

    The weights are small differences of large logits. In half precision they would drown in the rounding, so these
    passes run in float32 for models in half precision and under ``torch.autocast`` too, unless the model cannot.

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
                maps[name] = self._from_passes(name, output.layout, images, indices)
        return [maps[name] for name in self.layers]

    def _from_passes(self, name: str, layout: Layout, images: Tensor, indices: Tensor) -> Tensor:
        if layout.channel is None:
            raise ValueError(
                f"AblationCAM needs a reshape of layer {name!r} that keeps its channels as they are, to set one to "
                "zero at a time; use a reshape that moves axes and leaves out tokens only, or GradCAM"
            )
        device, weights = images.device.type, wide_weights(self.model)
        if weights or torch.is_autocast_enabled(device):
            wide = images.to(torch.promote_types(images.dtype, torch.float32))
            with suppress(Exception), torch.autocast(device, enabled=False):  # a model may insist on its own types
                return self._in_precision_of(weights, name, layout, wide, indices)
        return self._in_precision_of({}, name, layout, images, indices)

    def _in_precision_of(
        self, weights: dict[str, Tensor], name: str, layout: Layout, images: Tensor, indices: Tensor
    ) -> Tensor:
        maps = []
        for image, index in zip(images.split(1), indices, strict=True):
            replay = Replay(self.model, name, image, weights, layout.batch)
            channels = _channels_second(replay.features, layout)
            alive = channels.flatten(2).any(dim=2)[0].nonzero()[:, 0]
            scores = self._logits(replay, layout, alive)[:, index]
            ablated = scores[0].repeat(channels.shape[1]).index_put((alive,), scores[1:])
            maps.append(ablation_cam(layout.read(replay.features), scores[:1], ablated[None]))
        return torch.cat(maps)

    def _logits(self, replay: Replay, layout: Layout, channels: Tensor) -> Tensor:
        """Logits ``(1 + N, classes)``: of the unchanged activations, then with each of N channels set to zero."""
        for way in WAYS[:-1]:
            with suppress(Exception):  # a model may do anything that does not go with being repeated in this way
                logits = self._passes(replay, layout, channels, way)
                if _same(logits[:1], replay.logits):
                    return logits
        return self._passes(replay, layout, channels, WAYS[-1])

    def _passes(self, replay: Replay, layout: Layout, channels: Tensor, way: Way) -> Tensor:
        features = replay.features
        kept = _channels_second(features, layout).shape[1]
        # The unchanged activations are the first copy, and all passes have one size: what rounding does to the logits
        # is the same for all, and cancels in their differences.
        jobs = torch.cat([channels.new_tensor([kept]), channels])
        passes = math.ceil(len(jobs) / self._size(replay, way))
        size = math.ceil(len(jobs) / passes)
        jobs = torch.cat([jobs, jobs[:1].expand(passes * size - len(jobs))])
        found = []
        for chunk in jobs.split(size):
            hidden = one_hot(chunk, kept + 1)[:, :kept].bool().view(size, kept, *[1] * (features.ndim - 2))
            copies = torch.cat([features] * size, dim=layout.batch)
            _channels_second(copies, layout).masked_fill_(hidden, 0)
            found.append(replay(copies, way))
        return torch.cat(found)[: len(channels) + 1]

    def _size(self, replay: Replay, way: Way) -> int:
        if self.batch_size is None and not way.memory:
            elements = ELEMENTS if replay.image.device.type == "cpu" else ACCELERATOR_ELEMENTS
            return max(1, elements // replay.features.numel())
        return copies_per_pass(replay.image, self.batch_size)


def _channels_second(output: Tensor, layout: Layout) -> Tensor:
    """The output of a layer, in its own memory, as ``(B, K, ...)``."""
    return output.movedim((layout.batch, layout.channel or 0), (0, 1))


def _closed_form(head: Head, features: Tensor, logits: Tensor, indices: Tensor) -> Tensor:
    dtype = torch.promote_types(features.dtype, torch.float32)
    drops = head.weight.flatten(1)[indices].to(dtype) * features.flatten(2).mean(dim=2, dtype=dtype)
    return _map_of_drops(features, logits.gather(1, indices[:, None])[:, 0], drops)


def _same(found: Tensor, expected: Tensor) -> bool:
    tolerance = max(0.01, 4 * torch.finfo(expected.dtype).eps)
    return bool(((found - expected).abs() <= tolerance * expected.abs().max() + 1e-6).all())
