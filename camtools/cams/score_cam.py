"""Score-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from camtools.cams.base import ActivationMap
from camtools.cams.cam import class_activation_map
from camtools.cams.capture import forward_with_activations
from camtools.cams.masks import masked_scores
from camtools.cams.targets import Target, class_indices

__all__ = ["ScoreCAM", "score_cam"]


def score_cam(activations: Tensor, scores: Tensor) -> Tensor:
    r"""Score-CAM of one layer: each channel is weighted by the softmax of the scores of the masked images.

    .. math:: \alpha_k = \frac{e^{S_k}}{\sum_j e^{S_j}}, \qquad A(i) = ReLU\Big(\sum_k \alpha_k f_k(i)\Big)

    In the paper, :math:`S_k` is the increase of the logit over the logit of a baseline image. The baseline adds the
    same number to all scores, which the softmax cancels: logits give the same map without it.

    Source: Wang et al., Score-CAM, CVPR workshops 2020, eq. 7 and algorithm 1.

    Args:
        activations: :math:`f`, ``(B, K, *spatial)``, floating point.
        scores: :math:`S`, ``(B, K)``: logit of the class for the image under the mask of each channel.

    Returns:
        ``(B, 1, *spatial)``, >= 0, computed in at least float32.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import torch
        >>> activations = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 pixels
        >>> score_cam(activations, torch.tensor([[7.0, 7.0]]))
        tensor([[[[2., 1.]]]])
    """
    return class_activation_map(activations, scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=1))


class ScoreCAM(ActivationMap):
    """Score-CAM of any layers of any classifier; see :func:`score_cam` and :class:`~camtools.cams.base.ActivationMap`.

    One forward pass gives the activations of all layers, then the image is scored under one mask for each channel of
    each layer (``camtools.cams.masks.masked_scores``), so the masked passes take the time; making the masks
    takes one or two hundredths of it on a ResNet-18. The channels of an image that are constant share one mask,
    and one pass. Nothing else is left out: the map is exact.

    What makes the passes themselves faster: ``torch.compile(model)``, and ``model.bfloat16()`` on hardware that has it.
    The scores are then rounded; on a ResNet-18, the map changes by 0.1 to 0.5 percent (norm of the difference).

    Source: Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPR
    workshops 2020.

    Args:
        model: classifier that returns logits.
        layers: names of submodules, one map for each.
        batch_size: images, masked or not, per pass; None chooses.
        reshape: from the output of a layer to ``(B, K, *spatial)``; None finds out.

    Raises:
        ValueError: an unknown layer name or a batch size below 1.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> model = VGG16CAM(width=0.0625)
        >>> ScoreCAM(model, layers=model.cam_layers[-1:])(torch.rand(2, 1, 64, 64), target=1).shape
        torch.Size([2, 1, 64, 64])
    """

    def layer_maps(self, images: Tensor, target: Target) -> list[Tensor]:
        """Compute the maps of one chunk; see :meth:`ActivationMap.layer_maps`."""
        logits, outputs = forward_with_activations(
            self.model, self.layers, images, differentiable=False, reshape=self.reshape
        )
        indices = class_indices(logits, target)
        maps = {}
        for name, output in outputs.items():
            maps[name] = score_cam(output.activations, self._scores(images, output.activations, indices))
        return [maps[name] for name in self.layers]

    def _scores(self, images: Tensor, features: Tensor, indices: Tensor) -> Tensor:
        def logit_of_class(logits: Tensor, rows: Tensor) -> Tensor:
            return logits.gather(1, indices[rows, None])[:, 0]

        return masked_scores(self.scorer, images, features, logit_of_class, self.batch_size, self._channels_last)
