"""Cfd-CAM: channels weighted by the confidence of the image that each of them masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from camtools.cams.base import ActivationMap, upsample
from camtools.cams.capture import forward_with_activations
from camtools.cams.layout import Reshape
from camtools.cams.masks import channel_ranges, masked_scores
from camtools.cams.passes import copies_per_pass, eager, prepare_images
from camtools.cams.representatives import channel_vectors, predicted_confidences, representative_channels
from camtools.cams.targets import Target, as_logits, class_indices, confidences
from camtools.fusion import normalize_min_max
from camtools.precision import usable_dtype

__all__ = ["CfdCAM", "confidence_weights"]


def confidence_weights(confidence: Tensor, blank: Tensor) -> Tensor:
    r"""Weights of the channels from the confidence of the masked images.

    .. math:: \alpha_k = \frac{c_k [c_k \ge c_0]}{\sum_j c_j [c_j \ge c_0]}

    A mask with which the classifier is less confident than for a blank image is not trusted.

    Source: Cfd-CAM (Chen et al., 2023), section 2, step 3.

    Args:
        confidence: :math:`c`, ``(B, K)`` in [0, 1].
        blank: :math:`c_0`, ``(B,)`` in [0, 1], the confidence for a blank image.

    Returns:
        ``(B, K)``, >= 0, of sum 1, or all zero where no channel is trusted.

    Example:
        >>> import torch
        >>> confidence_weights(torch.tensor([[0.6, 0.2, 0.4]]), torch.tensor([0.3]))
        tensor([[0.6000, 0.0000, 0.4000]])
    """
    trusted = torch.where(confidence >= blank[:, None], confidence, 0.0)
    total = trusted.sum(dim=1, keepdim=True)
    return trusted / total.masked_fill(total == 0, 1.0)


class CfdCAM(ActivationMap):
    r"""Cfd-CAM of any layers of any classifier, at any scales; see :class:`~camtools.cams.base.ActivationMap`.

    .. math:: A(i) = \sum_k \alpha_k H_k(i), \qquad
        H_k = \frac{U(f_k) - \min U(f_k)}{\max U(f_k) - \min U(f_k)}, \qquad c_k = p(x \odot H_k)

    with :math:`\alpha` of :func:`confidence_weights` and the probability p of the class (sigmoid of one logit, softmax
    of several). With ``scale_by_confidence``, as in the authors' code, the map of a scale is then min-max scaled and
    multiplied by the confidence of the image itself. Maps are made of the image at every scale (resized bilinearly),
    brought back to its size and averaged. They lie in [0, 1].

    The masked passes take the time: K per layer and scale, each on s x s times the pixels at scale s. The masks are
    made and scored chunk by chunk, so the memory is bounded by ``batch_size``. Two shortcuts are exact:
    constant channels share one pass, and the weighted sum is computed at the resolution of the layer. Two options
    change the map: ``scoring_dtype=torch.bfloat16`` rounds the confidences (less than 1e-3 of the map, see
    docs/methods/cfdcam.md), and ``channel_share`` leaves channels out.

    Source: Chen et al., A Novel Confidence Induced Class Activation Mapping for MRI Brain Tumor Segmentation, 2023,
    section 2, steps 1-5.

    Args:
        model: classifier that returns logits.
        layers: names of submodules of the model, one map for each. The paper takes the last before global average
            pooling.
        scales: sizes of the image relative to its own, > 0.
        batch_size: images per pass, masked or not; see :class:`~camtools.cams.base.ActivationMap`.
        scale_by_confidence: scale each map to [0, 1] and multiply it by the confidence of the image.
        channel_share: share of the channels whose confidence is computed, in (0, 1]. Below 1, the channels whose masks
            cover the masks of all channels best are scored, and the other confidences are predicted from them
            (``camtools.cams.representatives.predicted_confidences``); every channel keeps its mask in the sum.
        scoring_dtype: type of the masked passes, under ``torch.autocast``; None: the model's own, which is also taken
            where the device does not compute in the type given (:func:`camtools.precision.computes_in`). The image
            itself is classified in the model's own type either way.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

    Raises:
        ValueError: an unknown layer name, a batch size below 1, no scale or one that is not positive, a share outside
            (0, 1].

    Example:
        >>> import torch
        >>> from camtools.networks import ResNet18CAM
        >>> model = ResNet18CAM(width=0.125)
        >>> cam = CfdCAM(model, layers=["layer4"], scales=(1.0, 2.0))
        >>> maps = cam(torch.rand(2, 1, 64, 64))
        >>> maps.shape, bool(maps.min() >= 0), bool(maps.max() <= 1)
        (torch.Size([2, 1, 64, 64]), True, True)
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str | nn.Module],
        scales: Sequence[float] = (1.0, 2.0),
        batch_size: int | None = None,
        scale_by_confidence: bool = True,
        channel_share: float = 1.0,
        scoring_dtype: torch.dtype | None = None,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__(model, layers, batch_size, reshape)
        if not scales or min(scales) <= 0:
            raise ValueError(f"expected one or more scales > 0, found {tuple(scales)}; 1.0 keeps the image")
        if not 0 < channel_share <= 1:
            raise ValueError(f"expected channel_share in (0, 1], found {channel_share}; 1 gives the exact map")
        self.scales = tuple(scales)
        self.scale_by_confidence = scale_by_confidence
        self.channel_share = channel_share
        self.scoring_dtype = scoring_dtype

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk, at the size of the images; see :meth:`ActivationMap.layer_maps`."""
        size = images.shape[2:]
        indices: Tensor | None = None
        totals = [images.new_zeros((len(images), 1, *size), dtype=torch.float32) for _ in self.layers]
        for scale in self.scales:
            resized = self._resized(images, scale)
            logits, outputs = forward_with_activations(
                self.model, self.layers, resized, differentiable=False, reshape=self.reshape
            )
            indices = class_indices(logits, target) if indices is None else indices
            maps = {name: self._map(resized, output.activations, indices) for name, output in outputs.items()}
            if self.scale_by_confidence:
                own = confidences(logits, indices).view(-1, *(1 for _ in images.shape[1:]))
                maps = {name: normalize_min_max(layer_map) * own for name, layer_map in maps.items()}
            for total, name in zip(totals, self.layers, strict=True):
                total += upsample(maps[name], size) / len(self.scales)
        return [total.clamp_(max=1) for total in totals]  # interpolation of a saturated map rounds above 1

    def _resized(self, images: Tensor, scale: float) -> Tensor:
        size = torch.Size(max(1, round(length * scale)) for length in images.shape[2:])
        if size == images.shape[2:]:
            return images
        return prepare_images(upsample(images, size), self.model, channels_last=self._channels_last)

    def _map(self, images: Tensor, features: Tensor, indices: Tensor) -> Tensor:
        """Map of one layer ``(B, 1, *spatial)``, of the size of the images."""
        lowest, span = ranges = channel_ranges(features, images.shape[2:], copies_per_pass(images, self.batch_size))
        weights = confidence_weights(*self._confidences(images, features, indices, ranges))
        with torch.autocast(images.device.type, enabled=False):
            # Upsampling is linear: channels are added up at the resolution of the layer, which takes no time.
            channels = features.to(lowest.dtype)
            summed = torch.einsum("bk,bk...->b...", weights / span, channels)
        offset = (weights * lowest / span).sum(dim=1).view(-1, *(1 for _ in images.shape[2:]))
        return upsample((summed - offset)[:, None], images.shape[2:]).clamp_(0, 1)

    def _confidences(
        self, images: Tensor, features: Tensor, indices: Tensor, ranges: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Confidence ``(B, K)`` of the masked images and ``(B,)`` of a blank one."""

        def confidence(logits: Tensor, rows: Tensor) -> Tensor:
            return confidences(logits, indices[rows])

        with self._scoring(images.device):
            with eager(self.model):  # one image: a compiled model would be compiled again for it
                blank = as_logits(self.model(torch.zeros_like(images[:1])), 1)
            if self.channel_share == 1:
                scores = self._scores(images, features, confidence, ranges)
            else:
                vectors = channel_vectors(features, ranges)
                chosen = representative_channels(vectors, self.channel_share)
                rows = torch.arange(len(features), device=features.device)[:, None]
                low, span = (values[rows, chosen] for values in ranges)
                scored = self._scores(images, features[rows, chosen], confidence, (low, span))
                scores = predicted_confidences(vectors, chosen, scored)
        return scores, confidences(blank.expand(len(indices), -1), indices)

    def _scores(
        self,
        images: Tensor,
        features: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        ranges: tuple[Tensor, Tensor],
    ) -> Tensor:
        return masked_scores(self.scorer, images, features, score, self.batch_size, self._channels_last, ranges)

    def _scoring(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.scoring_dtype is None or usable_dtype(self.scoring_dtype, device) is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.scoring_dtype)
