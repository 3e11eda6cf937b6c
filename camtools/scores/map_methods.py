"""Activation-map methods by name, each built over a trained classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from camtools.cams import (
    CAM,
    AblationCAM,
    AveragedMaps,
    CfdCAM,
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
from camtools.fusion import layer_sum
from camtools.networks import members_of

__all__ = [
    "CAM_METHODS",
    "CFD_METHODS",
    "MAP_CLASSES",
    "build_cams",
    "checked_names",
    "is_probability",
    "stage_layers",
    "summed_maps",
]

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
            f"Expected cam_layers, the names of the stages from shallow to deep, found none in "
            f"{type(classifier).__name__}. Set the attribute cam_layers of the network, with names of named_modules()."
        )
    return [str(layer) for layer in layers]


def _deepest(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None, **options: Any) -> Cam:
    return cam(classifier, stage_layers(classifier)[-1:], batch_size=batch_size, **options)


def _stages(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None) -> Cam:
    return cam(classifier, stage_layers(classifier), batch_size=batch_size)


def _biases(cam: Callable[..., Cam], classifier: nn.Module, batch_size: int | None) -> Cam:
    return cam(classifier, batch_size=batch_size)


MAP_CLASSES: dict[str, Callable[..., Cam]] = {
    "cam": CAM,
    "gradcam": GradCAM,
    "gradcam++": GradCAMpp,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "ltgradcam": LTGradCAM,
    "ltlayercam": LTLayerCAM,
    "fullgrad": FullGrad,
    "ltfullgrad": LTFullGrad,
    "scorecam": ScoreCAM,
    "ablationcam": AblationCAM,
    "cfdcam": CfdCAM,
}
"""Name of a class of activation maps -> the class, for any layers and options."""

CAM_METHODS: dict[str, Callable[..., Cam]] = {
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
    "cfdcam": partial(_deepest, CfdCAM),
    "cfdcam-ss": partial(_deepest, partial(CfdCAM, scales=(1.0,))),
    "cfdcam-2x": partial(_deepest, partial(CfdCAM, scales=(2.0,))),
}
"""Name of a method -> builder from a classifier and the images per pass (None: what is fast on the device).

The deepest stage alone: ``cam``, ``gradcam``, ``gradcam++``, ``xgradcam``, ``layercam``, ``scorecam``, ``ablationcam``
(these two run the classifier for every channel) and ``ltgradcam-l1`` (truncated at percentile 0). The sum over all
stages: ``layercam-5``, ``ltgradcam-0`` (percentile 0), ``ltgradcam`` and ``ltlayercam`` (percentile 20). All layers
with a bias: ``fullgrad`` and ``ltfullgrad`` (percentile 20). Cfd-CAM, which runs the classifier for every channel of
the deepest stage at each size of the image: ``cfdcam`` (original and double), ``cfdcam-ss`` (original) and
``cfdcam-2x`` (double).
"""

CFD_METHODS = ("cfdcam", "cfdcam-ss", "cfdcam-2x")
"""Methods whose builders take further arguments of :class:`camtools.cams.CfdCAM`."""


def checked_names(what: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    """Names in the order given, each once.

    Args:
        what: option that lists the names, for the message.
        names: the names.
        known: all that there are.

    Raises:
        ValueError: an unknown name, or none.

    Example:
        >>> checked_names("rules", ["otsu", "crf", "otsu"], ["crf", "otsu"])
        ['otsu', 'crf']
    """
    known = list(known)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"{what}: expected some of {', '.join(known)}, found {', '.join(unknown) or 'none'}.")
    return list(dict.fromkeys(names))


def build_cams(
    names: Sequence[str],
    classifier: nn.Module,
    batch_size: int | None = None,
    cfd_options: Mapping[str, Any] | None = None,
) -> dict[str, Cam]:
    """Build methods by name.

    Args:
        names: keys of :data:`CAM_METHODS`; one given twice counts once.
        classifier: network with ``cam_layers``; the maps of an ensemble are the means of those of its members.
        batch_size: images per pass; None chooses a number that is fast on the device.
        cfd_options: further arguments of :class:`camtools.cams.CfdCAM`, such as ``scoring_dtype`` and
            ``channel_share``, for the methods of :data:`CFD_METHODS`.

    Returns:
        CAM objects by name, in the order given.

    Raises:
        ValueError: an unknown name, or a classifier that does not fit (no ``cam_layers``, no head for ``cam``),
            or an option out of range.
    """
    chosen = checked_names("methods", names, CAM_METHODS)
    options = dict.fromkeys(CFD_METHODS, cfd_options or {})
    made: dict[str, Cam] = {}
    for name in chosen:
        build = partial(CAM_METHODS[name], batch_size=batch_size, **options.get(name, {}))
        cams = [build(member) for member in members_of(classifier)]
        made[name] = cams[0] if len(cams) == 1 else AveragedMaps(cams)
    return made


def is_probability(cam: Cam) -> bool:
    """Whether the maps of a method are probabilities of the object as they are.

    Maps of Cfd-CAM are: they lie in [0, 1], and a value is the confidence of the classifier. Maps of other methods have
    no scale.
    """
    return isinstance(cam, CfdCAM)


def summed_maps(cam: Cam, images: Tensor, target: int = 1) -> Tensor:
    """Maps of a batch, added over the layers where the method gives several, not normalised.

    Args:
        cam: CAM object.
        images: slices ``(B, C, H, W)``.
        target: class of the object.

    Returns:
        ``(B, 1, H, W)``, >= 0.

    Example:
        >>> import torch
        >>> from camtools.networks import VGG16CAM
        >>> cam = build_cams(["layercam-5"], VGG16CAM(width=0.0625))["layercam-5"]
        >>> summed_maps(cam, torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """
    return layer_sum(cam(images, target=target))
