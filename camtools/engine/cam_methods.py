"""Activation-map methods by name, each built over a trained classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from camtools.cams import (
    CAM,
    AblationCAM,
    FullGrad,
    GradCAM,
    GradCAMpp,
    LayerCAM,
    LTFullGrad,
    LTGradCAM,
    LTLayerCAM,
    ScoreCAM,
    XGradCAM,
)
from camtools.fusion import layer_sum, normalize_max

__all__ = ["CAM_METHODS", "build_cams", "stage_layers", "unit_maps"]

Cam = Callable[..., Tensor]
"""A CAM object: ``cam(images (B, C, H, W), target=...) -> (B, L, H, W)``."""


def stage_layers(classifier: nn.Module) -> list[str]:
    """Names of the stages of a classifier whose maps are read, shallow to deep: its ``cam_layers``.

    Raises:
        ValueError: the classifier names none.

    Example:
        >>> from camtools.networks import VGG16CAM
        >>> len(stage_layers(VGG16CAM(width=0.0625)))
        5
    """
    layers = getattr(classifier, "cam_layers", None)
    if not layers:
        raise ValueError(
            f"{type(classifier).__name__} has no cam_layers: expected the names of its stages, shallow to deep, as in "
            "named_modules(). Set the attribute cam_layers of the network."
        )
    return [str(layer) for layer in layers]


def _deepest(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None) -> Cam:
    return cam(classifier, stage_layers(classifier)[-1:], batch_size=batch_size)


def _stages(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None) -> Cam:
    return cam(classifier, stage_layers(classifier), batch_size=batch_size)


def _biases(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None) -> Cam:
    return cam(classifier, batch_size=batch_size)


CAM_METHODS: dict[str, Callable[[nn.Module, int | None], Cam]] = {
    "cam": partial(_deepest, CAM),
    "gradcam": partial(_deepest, GradCAM),
    "gradcam++": partial(_deepest, GradCAMpp),
    "xgradcam": partial(_deepest, XGradCAM),
    "layercam": partial(_deepest, LayerCAM),
    "layercam-5": partial(_stages, LayerCAM),
    "scorecam": partial(_deepest, ScoreCAM),
    "ablationcam": partial(_deepest, AblationCAM),
    "fullgrad": partial(_biases, FullGrad),
    "ltgradcam-l1": partial(_deepest, partial(LTGradCAM, percentile=0)),
    "ltgradcam-0": partial(_stages, partial(LTGradCAM, percentile=0)),
    "ltgradcam": partial(_stages, LTGradCAM),
    "ltlayercam": partial(_stages, LTLayerCAM),
    "ltfullgrad": partial(_biases, LTFullGrad),
}
"""Name of a method -> builder from a classifier and the images per pass (None: what is fast on the device).

The deepest stage alone: ``cam``, ``gradcam``, ``gradcam++``, ``xgradcam``, ``layercam``, ``scorecam``, ``ablationcam``
(these two run the classifier for every channel) and ``ltgradcam-l1`` (truncated at percentile 0). The sum over all
stages: ``layercam-5``, ``ltgradcam-0`` (percentile 0), ``ltgradcam`` and ``ltlayercam`` (percentile 20). All layers
with a bias: ``fullgrad`` and ``ltfullgrad`` (percentile 20).
"""


def build_cams(names: Sequence[str], classifier: nn.Module, batch_size: int | None = None) -> dict[str, Cam]:
    """Build methods by name.

    Args:
        names: keys of :data:`CAM_METHODS`; one given twice counts once.
        classifier: network with ``cam_layers``.
        batch_size: images per pass; None takes what is fast on the device.

    Returns:
        CAM objects by name, in the order given.

    Raises:
        ValueError: an unknown name, or a classifier that does not fit (no ``cam_layers``, no head for ``cam``).
    """
    unknown = [name for name in names if name not in CAM_METHODS]
    if unknown or not names:
        raise ValueError(f"Unknown method '{unknown[0] if unknown else ''}': expected {', '.join(CAM_METHODS)}.")
    return {name: CAM_METHODS[name](classifier, batch_size) for name in dict.fromkeys(names)}


def unit_maps(cam: Cam, images: Tensor, target: int = 1) -> Tensor:
    """Maps of a batch, added over the layers where the method gives several, and each divided by its maximum.

    Args:
        cam: CAM object.
        images: slices ``(B, C, H, W)``.
        target: class of the object.

    Returns:
        ``(B, 1, H, W)`` in [0, 1]; a map of zeros stays zero.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> cam = build_cams(["layercam-5"], VGG16CAM(width=0.0625))["layercam-5"]
        >>> unit_maps(cam, torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """
    return normalize_max(layer_sum(cam(images, target=target)))
