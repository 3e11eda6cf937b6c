"""What to do without any mask to choose by."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from camtools.networks import members_of
from camtools.scores.map_methods import stage_layers
from camtools.tuning.choice import MaskChoice

__all__ = ["default_choice", "middle_layer"]


def middle_layer(network: nn.Module) -> str:
    """The stage in the middle of ``cam_layers``: of 5 the third, of 4 the third.

    Deep stages know the class and are coarse, shallow stages are fine and know edges alone.

    Raises:
        ValueError: the network names no stages.

    Example:
        >>> from camtools.networks import EfficientNetLite0CAM
        >>> middle_layer(EfficientNetLite0CAM())
        'shallow.stage6'
    """
    stages = stage_layers(members_of(network)[0])
    return stages[len(stages) // 2]


def default_choice(network: nn.Module, scales: Sequence[float] = (1.0,)) -> MaskChoice:
    """Layer-CAM of layers in the middle and a dense CRF, centred on Otsu's threshold of each map.

    The layers are ``mask_layers`` of the network, such as stages 6 and 7 of EfficientNet-Lite0, whose maps become one
    by their geometric mean; for other networks it is the stage in the middle. The maps are averaged over the slice and
    its mirror images. The CRF has the parameters of the Cfd-CAM paper.

    Args:
        network: classifier with ``cam_layers``, or an ensemble of them.
        scales: sizes of the slice whose maps are averaged.

    Example:
        >>> from camtools.networks import ResNet18CAM
        >>> choice = default_choice(ResNet18CAM(width=0.125))
        >>> choice.layers, choice.threshold, choice.refinement
        (('layer3',), 'otsu', 'crf')
    """
    layers: Sequence[str] = getattr(members_of(network)[0], "mask_layers", None) or [middle_layer(network)]
    return MaskChoice("layercam", tuple(layers), "geometric_mean", "otsu", "crf", mirrored=True, scales=tuple(scales))
