"""A classifier and its activation map as a segmentation network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from camtools.cams.base import ActivationMap
from camtools.cams.confidence import image_confidences
from camtools.fusion import layer_sum
from camtools.thresholds import Rule, check_rule, map_threshold, per_pixel

__all__ = ["CAMSegmenter"]

NOT_EXPORTABLE = (
    "CAMSegmenter cannot be exported: its activation maps take more than a forward pass. Its classifier can, with the "
    "same checkpoint: name it instead of network_def, in the bundles as classifier::network. See docs/how_to_export.md."
)


class CAMSegmenter(nn.Module):
    r"""Segment images by thresholding a classifier's activation map.

    .. math:: s(i) = \frac{A(i) - t}{\max_j A(j)}, \qquad \text{logits} = (-s, s)

    with the threshold t of :func:`camtools.thresholds.map_threshold`. The foreground's logit is positive exactly where
    the map A exceeds t, and linear in A: logits that are interpolated (``Invertd``) and then reduced by arg-max are the
    interpolated map, thresholded. With ``refine``, such as a dense CRF, :math:`s = 2p - 1` for its foreground
    probability p. Images without an object (negative for the gate, or with a map of zeros) have :math:`s = -1`.

    The state dictionary is the classifier's own, so a checkpoint of the classifier is one of the segmenter. The
    classifier runs in evaluation mode, whatever the mode of the segmenter. It cannot be scripted, traced or exported,
    since a map takes more than a forward pass; its classifier can. The gate costs one more forward pass per image;
    maps, with their backward pass, are then computed only for positive images.

    Source: the use of LTGrad-CAM (Dong et al., 2023), section 3.1, as a segmenter: Otsu's method on the map; of Cfd-CAM
    (Chen et al., 2023), section 2, step 6: a dense CRF.

    Args:
        cam: activation map, such as ``LTGradCAM(model, layers)``; maps of several layers are added
            (:func:`camtools.fusion.layer_sum`).
        rule: see :func:`camtools.thresholds.map_threshold`.
        target: class of the object; 0 for a classifier of one logit.
        refine: replaces the rule: from images ``(B, C, H, W)`` and their maps ``(B, 1, H, W)`` to
            probabilities ``(B, 2, H, W)``, as :class:`camtools.crf.DenseCRF` does.
        normalize: applied to the maps ``(B, 1, H, W)`` before they are refined, such as
            :func:`camtools.fusion.normalize_min_max` for maps outside [0, 1].
        gate: images whose probability of the class is at most 0.5 are background (softmax; sigmoid of one logit).

    Raises:
        ValueError: an unknown rule.

    Example:
        >>> import torch
        >>> from camtools.cams import LTGradCAM
        >>> from camtools.networks import VGG16CAM
        >>> classifier = VGG16CAM(width=0.0625, dilated=False)
        >>> segmenter = CAMSegmenter(LTGradCAM(classifier, classifier.cam_layers), gate=False)
        >>> segmenter(torch.rand(3, 1, 32, 32)).shape
        torch.Size([3, 2, 32, 32])
    """

    def __init__(
        self,
        cam: ActivationMap,
        rule: Rule = "otsu",
        target: int = 1,
        gate: bool = True,
        refine: Callable[[Tensor, Tensor], Tensor] | None = None,
        normalize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        check_rule(rule)
        self.cam = cam
        self.classifier = cam.model
        self.rule = rule
        self.target = target
        self.gate = gate
        self.refine = refine
        self.normalize = normalize

    def forward(self, images: Tensor) -> Tensor:
        """Segment images.

        Args:
            images: ``(B, C, H, W)``, as the classifier takes them.

        Returns:
            Logits ``(B, 2, H, W)`` float32 in [-1, 1], background and object; see the class.

        Raises:
            ValueError: what the activation map refuses.
            RuntimeError: it is being traced or exported.
        """
        if torch.jit.is_tracing() or torch.compiler.is_exporting():  # type: ignore[attr-defined]
            raise RuntimeError(NOT_EXPORTABLE)
        score = torch.full((len(images), 1, *images.shape[2:]), -1.0, device=images.device)
        chosen = self._positive(images) if self.gate else torch.ones(len(images), dtype=torch.bool)
        if chosen.any():
            score[chosen] = self._scores(images[chosen])
        return torch.cat([-score, score], dim=1)

    def _scores(self, images: Tensor) -> Tensor:
        maps = layer_sum(self.cam(images, target=self.target))
        peak = maps.amax(dim=(1, 2, 3), keepdim=True)
        if self.refine is None:
            threshold = per_pixel(map_threshold(maps, self.rule))
            return torch.where(peak > 0, (maps - threshold) / peak, -1.0)
        maps = maps if self.normalize is None else self.normalize(maps)
        return torch.where(peak > 0, 2 * self.refine(images, maps)[:, 1:] - 1, -1.0)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """State of the classifier, under its own names."""
        return self.classifier.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the state of the classifier; as ``torch.nn.Module.load_state_dict``."""
        return self.classifier.load_state_dict(state_dict, strict=strict, assign=assign)

    def __prepare_scriptable__(self) -> nn.Module:
        """Called by ``torch.jit.script``, whose own error would name a line of the source and no solution."""
        raise RuntimeError(NOT_EXPORTABLE)

    def _positive(self, images: Tensor) -> Tensor:
        return image_confidences(self.classifier, images, self.target, self.cam.batch_size) > 0.5
