"""The maps that a tuning tries: methods, and for each the layers and fusions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from camtools.networks import members_of
from camtools.scores.map_methods import checked_names, stage_layers
from camtools.tuning.choice import MaskChoice
from camtools.tuning.fusions import FUSIONS

__all__ = ["DEFAULT_METHODS", "METHODS", "MapMethod", "checked_methods", "map_choices", "method_name", "simplicity"]


@dataclass(frozen=True)
class MapMethod:
    """One way to make maps.

    Attributes:
        method: class of the maps, a key of ``camtools.scores.map_methods.MAP_CLASSES``.
        options: further arguments of the class.
        layers: which layers are read: ``"stages"``: each of ``cam_layers`` alone, and fusions of several;
            ``"summed"``: each alone, and the sum of all that the class makes itself; ``"deepest"``: the last;
            ``"own"``: those that the class finds.
        passes: 0: forward alone; 1: one forward and one backward pass; 2: a pass for each channel.
    """

    method: str
    layers: str = "stages"
    passes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


METHODS: dict[str, MapMethod] = {
    "cam": MapMethod("cam", "deepest", passes=0),
    "gradcam": MapMethod("gradcam"),
    "layercam": MapMethod("layercam"),
    "gradcam++": MapMethod("gradcam++"),
    "xgradcam": MapMethod("xgradcam"),
    "ltgradcam-0": MapMethod("ltgradcam", "summed", options={"percentile": 0}),
    "ltgradcam": MapMethod("ltgradcam", "summed", options={"percentile": 20}),
    "ltlayercam": MapMethod("ltlayercam", "summed", options={"percentile": 20}),
    "fullgrad": MapMethod("fullgrad", "own"),
    "ltfullgrad": MapMethod("ltfullgrad", "own", options={"percentile": 20}),
    "scorecam": MapMethod("scorecam", passes=2),
    "ablationcam": MapMethod("ablationcam", passes=2),
    "cfdcam-ss": MapMethod("cfdcam", passes=2, options={"scales": [1.0]}),
    "cfdcam": MapMethod("cfdcam", passes=2, options={"scales": [1.0, 2.0]}),
}
"""Name of a method -> what it is, from the simplest; the last four run the classifier for every channel."""

DEFAULT_METHODS = tuple(name for name, one in METHODS.items() if one.passes < 2)
"""The methods that cost at most one forward and one backward pass."""

REFINEMENTS = ("none", "geodesic", "crf")


def checked_methods(names: Sequence[str]) -> list[str]:
    """Names in the order given, each once.

    Raises:
        ValueError: an unknown name, or none.
    """
    return checked_names("methods", names, METHODS)


def tuned_layers(network: nn.Module) -> tuple[str, ...]:
    """Layers whose maps are tried: ``cam_layers`` of a classifier and, where it has them, ``mask_layers``, in order.

    Of an ensemble they are those of a member.

    Example:
        >>> from camtools.networks import EfficientNetLite0CAM
        >>> tuned_layers(EfficientNetLite0CAM())[-4:]
        ('shallow.stage6', 'deep.stage7', 'deep.stage8', 'dropout')
    """
    member = members_of(network)[0]
    wanted = {*stage_layers(member), *getattr(member, "mask_layers", ())}
    return tuple(name for name, _ in member.named_modules() if name in wanted)


def map_choices(
    name: str,
    network: nn.Module,
    layers: Sequence[str] | None = None,
    mirrored: bool = False,
    scales: Sequence[float] = (1.0,),
) -> list[MaskChoice]:
    """Every map of a method, with Otsu's threshold.

    For ``"stages"``: each stage alone; mean and geometric mean of neighbouring pairs; of all stages the mean, the
    geometric mean, the uncertainty-weighted mean and the sum.

    Args:
        name: a key of ``METHODS``.
        network: classifier with ``cam_layers``.
        layers: names of layers instead of :func:`tuned_layers`, shallow to deep.
        mirrored: of the choices.
        scales: of the choices.

    Example:
        >>> from camtools.networks import ResNet18CAM
        >>> len(map_choices("layercam", ResNet18CAM(width=0.125)))  # 4 stages, 3 pairs, all
        14
    """
    method = METHODS[name]
    stages = tuple(layers or tuned_layers(network))
    sets: list[tuple[tuple[str, ...], str]] = [((stage,), "mean") for stage in stages]
    if method.layers == "own":
        sets = [((), "mean")]
    elif method.layers == "deepest":
        sets = sets[-1:]
    elif method.layers == "summed" and len(stages) > 1:
        sets.append((stages, "layer_sum"))
    elif len(stages) > 1:
        pairs = list(itertools.pairwise(stages)) if len(stages) > 2 else []
        sets += [(pair, fusion) for fusion in ("mean", "geometric_mean") for pair in pairs]
        sets += [(stages, fusion) for fusion in FUSIONS]
    made = []
    for names, fusion in sets:
        made.append(
            MaskChoice(method.method, names, fusion, mirrored=mirrored, scales=tuple(scales), options=method.options)
        )
    return made


def method_name(choice: MaskChoice) -> str:
    """Key of ``METHODS`` of a choice; for options that no method has, the first one of the same class.

    Example:
        >>> method_name(MaskChoice("ltgradcam", ("layer3",), options={"percentile": 20}))
        'ltgradcam'
    """
    names = [name for name, one in METHODS.items() if one.method == choice.method]
    exact = [name for name in names if dict(METHODS[name].options) == dict(choice.options)]
    return (exact or names)[0]


def simplicity(choice: MaskChoice) -> tuple[int, ...]:
    """Order from the simplest and cheapest choice: smaller is simpler.

    In this order: the refinement (none, geodesic, CRF); the passes of the classifier (forward; forward and backward;
    one for every channel); the number of layers; the fusion, in the order of ``camtools.tuning.FUSIONS``; the
    method, in the order of ``METHODS``.

    Example:
        >>> plain = MaskChoice("layercam", ("layer3",), threshold=0.4)
        >>> refined = MaskChoice("layercam", ("layer3",), threshold=0.4, refinement="crf")
        >>> simplicity(plain) < simplicity(refined)
        True
    """
    name = method_name(choice)
    return (
        REFINEMENTS.index(choice.refinement),
        METHODS[name].passes,
        len(choice.layers),
        list(FUSIONS).index(choice.fusion),
        list(METHODS).index(name),
    )
