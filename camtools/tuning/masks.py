"""What a choice does: the CAM object, and the mask of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from camtools.cams import AveragedMaps, GradientActivationMap, MirroredMaps, MultiScaleMaps
from camtools.crf import DenseCRF
from camtools.fusion import centre_at_threshold, normalize_min_max
from camtools.geodesic import seed_pseudo_label
from camtools.networks import members_of
from camtools.scores.map_methods import MAP_CLASSES, Cam
from camtools.thresholds import map_threshold, per_pixel
from camtools.tuning.choice import MaskChoice
from camtools.tuning.shared_pass import SharedPass

__all__ = ["averaged_cam", "choice_cam", "choice_mask", "unit_slices"]

ROUNDING = 1e-3


def choice_cam(choice: MaskChoice, network: nn.Module, batch_size: int | None = None) -> Cam:
    """The CAM object of a choice. The maps of an ensemble are the means of those of its members.

    Args:
        choice: method, layers and options.
        network: trained classifier.
        batch_size: images per pass; None chooses.

    Raises:
        ValueError: a layer that the network does not have, or an option that the method does not take.

    Example:
        >>> from camtools.networks import VGG16CAM
        >>> choice_cam(MaskChoice("layercam", ("features.10",)), VGG16CAM(width=0.0625)).layers
        ('features.10',)
    """
    members = members_of(network)
    cams = [_member_cam(choice, member, batch_size) for member in members]
    if not (choice.mirrored or choice.scales != (1.0,) or len(members) > 1):
        return cams[0]
    # LTGrad-CAM and LTLayer-CAM add their layers; here each layer is averaged before they are added
    apart = [SharedPass([cam], batch_size) if isinstance(cam, GradientActivationMap) else cam for cam in cams]
    return averaged_cam(apart, choice.mirrored, choice.scales)


def averaged_cam(cams: Sequence[Cam], mirrored: bool, scales: Sequence[float]) -> Cam:
    """Average maps over sizes of the image, its mirror images, and networks.

    Args:
        cams: the same maps of each member of an ensemble, or of a single network.
        mirrored: whether they are averaged over the image and its two mirror images.
        scales: sizes of the image.
    """
    makers: list[Cam] = []
    for cam in cams:
        sized = cam if tuple(scales) == (1.0,) else MultiScaleMaps(cam, scales)
        makers.append(MirroredMaps(sized) if mirrored else sized)
    return makers[0] if len(makers) == 1 else AveragedMaps(makers)


def _member_cam(choice: MaskChoice, network: nn.Module, batch_size: int | None) -> Cam:
    layers = list(choice.layers) or None
    try:
        return MAP_CLASSES[choice.method](network, layers, batch_size=batch_size, **choice.options)
    except TypeError as error:
        raise ValueError(
            f"options: expected arguments of {choice.method}, found {', '.join(choice.options)} ({error}). Rename them."
        ) from error


def choice_mask(choice: MaskChoice, images: Tensor, maps: Tensor) -> Tensor:
    """Masks of fused maps: threshold and refinement of a choice.

    Args:
        choice: threshold, refinement and parameters.
        images: slices ``(B, C, H, W)``; for ``"crf"`` of any number of channels.
        maps: fused maps ``(B, 1, H, W)`` in [0, 1] of :func:`camtools.tuning.fused_map`, on the device that computes.

    Returns:
        bool ``(B, 1, H, W)``; empty where the map is zero.

    Raises:
        ValueError: what the refinement refuses.

    Example:
        >>> maps = torch.tensor([[[[0.0, 0.3, 0.6, 1.0]]]])
        >>> choice_mask(MaskChoice("layercam", ("layer3",), threshold=0.5), maps, maps).tolist()
        [[[[False, False, True, True]]]]
    """
    masks = torch.zeros(maps.shape, dtype=torch.bool, device=maps.device)
    shown = maps.flatten(1).amax(dim=1) > 0
    if shown.any():
        masks[shown] = _refined(choice, images.to(maps.device)[shown], maps[shown])
    return masks


def unit_slices(images: Tensor) -> Tensor:
    """Slices in [0, 1] as they are; others (a z-score) scaled to [0, 1] by their own range over all channels.

    Example:
        >>> unit_slices(torch.tensor([[[[-1.0, 0.0, 3.0]]], [[[0.0, 0.5, 0.5]]]])).flatten().tolist()
        [0.0, 0.25, 1.0, 0.0, 0.5, 0.5]
    """
    lowest, highest = images.flatten(1).aminmax(dim=1)
    inside = (lowest >= -ROUNDING) & (highest <= 1 + ROUNDING)
    scaled = normalize_min_max(images.flatten(1)[:, None]).reshape(images.shape)
    return torch.where(per_pixel(inside), images.clamp(0, 1), scaled)


def _refined(choice: MaskChoice, images: Tensor, maps: Tensor) -> Tensor:
    thresholds = map_threshold(maps, choice.threshold)
    if choice.refinement == "crf":
        crf = DenseCRF(**{"empty_below": None, **choice.parameters})
        return crf(unit_slices(images), centre_at_threshold(maps, thresholds))[:, 1:] > 0.5
    if choice.refinement == "geodesic":
        lowest, highest = maps.flatten(1).aminmax(dim=1)
        span = (highest - lowest).clamp(min=torch.finfo(maps.dtype).tiny)
        share = ((thresholds - lowest) / span).clamp(0, 1)  # of the range of the map, which the seeds are taken from
        return seed_pseudo_label(images.float(), maps, share, **choice.parameters)[:, 1:] > 0.5
    return maps > per_pixel(thresholds)
