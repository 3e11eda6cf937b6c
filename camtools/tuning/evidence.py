"""How much a classifier's own answers speak for a mask: a criterion that needs no masks to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from camtools.cams.confidence import image_confidences
from camtools.tuning.choice import MaskChoice
from camtools.tuning.maps import SpooledMaps
from camtools.tuning.masks import choice_mask
from camtools.tuning.methods import method_name
from camtools.tuning.statistics import mean_of_known, patient_means, spread_sample

__all__ = ["map_evidence", "mask_evidence", "rank_agreement"]

BLUR = 16  # pixels that are averaged where everything but the object is hidden


def mask_evidence(
    network: nn.Module, images: Tensor, masks: Tensor, target: int = 1, own: Tensor | None = None
) -> Tensor:
    r"""Evidence for masks, without a mask to compare with.

    .. math::
        E = \frac{3}{1 / d + 1 / k + 1 / \eta}, \qquad
        d = 1 - \frac{c(x \setminus M)}{c(x)}, \quad k = \frac{c(x \cap M)}{c(x)}, \quad
        \eta = \frac{\text{variance between } M \text{ and its ring}}{\text{variance in both}}

    with c the confidence of the classifier in the class, each part clipped to [0, 1]: the confidence should *drop* when
    the mask is filled with the mean of its ring, be *kept* when all but the mask is blurred, and the mask should stand
    out from its *ring*, the pixels around it of about the same area. A mask that is too large passes the first two, one
    that is too small the last. The evidence is 0 for an empty mask and for one without a ring.

    More evidence should mean a better mask. That is not so on every data set: over maps of TCGA-LGG its rank
    correlation with Dice is negative (docs/how_to_tune.md). It ranks maps for a reader, and nothing is chosen by it.

    Source: the drop when the object is deleted and what is kept when it is inserted, Petsiuk et al., RISE, BMVC 2018,
    and the average drop of Chattopadhyay et al., Grad-CAM++, WACV 2018; their harmonic mean with a part that asks for
    simple maps, Poppi et al., Revisiting The Evaluation of Class Activation Mapping for Explainability, 2021. The ring
    is in place of their complexity: an object on a medical image has borders.

    Args:
        network: trained classifier, on the device of the images.
        images: positive slices ``(B, C, H, W)``.
        masks: bool ``(B, 1, H, W)``.
        target: class of the object; 0 for a classifier of one logit.
        own: c(x) of each image ``(B,)``, where it is known already.

    Returns:
        ``(B,)`` in [0, 1], float32.

    Example:
        >>> from camtools.networks import ResNet18CAM
        >>> network, images = ResNet18CAM(width=0.125), torch.rand(2, 1, 64, 64)
        >>> mask_evidence(network, images, torch.zeros(2, 1, 64, 64, dtype=torch.bool), target=0)
        tensor([0., 0.])
    """
    result = torch.zeros(len(images), device=images.device)
    rings = mask_rings(masks)
    usable = masks.flatten(1).any(1) & rings.flatten(1).any(1)
    if not usable.any():
        return result
    images, inside, ring = images[usable].float(), masks[usable].float(), rings[usable].float()
    whole = image_confidences(network, images, target) if own is None else own[usable]
    around = (images * ring).sum((2, 3), keepdim=True) / ring.sum((2, 3), keepdim=True)
    both = torch.cat([torch.where(inside > 0, around, images), torch.where(inside > 0, images, _blurred(images))])
    filled, kept = (image_confidences(network, both, target) / whole.repeat(2).clamp(min=1e-6)).chunk(2)
    parts = torch.stack([1 - filled, kept, contrast(images, inside, ring)]).clamp(0, 1)
    result[usable] = torch.where((parts > 0).all(0), 3 / (1 / parts).sum(0), 0.0)
    return result


def contrast(images: Tensor, inside: Tensor, ring: Tensor) -> Tensor:
    """Share of the variance in a mask and its ring that lies between the two, mean over channels: ``(B,)`` in [0, 1].

    Args:
        images: ``(B, C, H, W)``.
        inside: 0 or 1, ``(B, 1, H, W)``.
        ring: 0 or 1, ``(B, 1, H, W)``.

    Example:
        >>> inside = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> contrast(inside, inside, 1 - inside)
        tensor([1.])
    """

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum((2, 3)) / where.sum((2, 3)).clamp(min=1)

    both = inside + ring
    middle = mean(images, both)
    total = mean((images - middle[:, :, None, None]) ** 2, both)
    share = mean(inside, both)
    between = share * (mean(images, inside) - middle) ** 2 + (1 - share) * (mean(images, ring) - middle) ** 2
    return torch.where(total > 0, between / total.clamp(min=1e-12), 0.0).mean(1)


def mask_rings(masks: Tensor) -> Tensor:
    r"""Pixels around each mask up to :math:`(\sqrt 2 - 1)` times the radius of a disc of its area: of a disc, its area.

    Args:
        masks: bool ``(B, 1, H, W)``.

    Returns:
        bool ``(B, 1, H, W)``.

    Example:
        >>> mask = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
        >>> mask[..., 3, 3] = True
        >>> mask_rings(mask).sum().item()
        8
    """
    rings = torch.zeros_like(masks)
    for number, mask in enumerate(masks):
        reach = max(1, round((math.sqrt(2) - 1) * math.sqrt(float(mask.sum()) / math.pi)))
        grown = F.max_pool2d(mask[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0
        rings[number] = grown & ~mask
    return rings


def map_evidence(
    spooled: SpooledMaps,
    maps: Sequence[MaskChoice],
    network: nn.Module,
    target: int,
    device: torch.device,
    slices: int,
    seed: int = 0,
) -> list[float]:
    """Evidence for the masks of maps (:func:`mask_evidence`), mean over patients, on a sample of slices.

    Args:
        spooled: slices and maps.
        maps: choices without refinement.
        network: trained classifier.
        target: class of the object.
        device: of the network.
        slices: size of the sample.
        seed: of the sample.
    """
    keys = spooled.keys
    sample = set(spread_sample([key.patient for key in keys], slices, seed))
    values = np.full((len(keys), len(maps)), np.nan)
    start = 0
    with tqdm(total=len(sample), desc="tune: evidence", unit="slice", disable=None) as bar:
        for part in spooled.parts:
            rows = [row for row in range(len(part.slices.keys)) if row + start in sample]
            if rows:
                picked = torch.tensor(rows)
                images = part.slices.images[picked].to(device).float()
                own = image_confidences(network, images, target)
                for number, one in enumerate(maps):
                    masks = choice_mask(one, images, part.maps[method_name(one)].fused(one, picked, device))
                    values[picked + start, number] = mask_evidence(network, images, masks, target, own).cpu().numpy()
            start += len(part.slices.keys)
            bar.update(len(rows))
    return [float(value) for value in mean_of_known(patient_means(values, [key.patient for key in keys])[1])]


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, -1 to 1; None for fewer than 3 pairs, or where all values of one are equal.

    Example:
        >>> rank_agreement([0.1, 0.2, 0.9], [1, 2, 3])
        1.0
    """
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(round(stats.spearmanr(first, second).statistic, 12))


def _blurred(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    pooled = F.adaptive_avg_pool2d(images, (max(1, height // BLUR), max(1, width // BLUR)))
    return F.interpolate(pooled, images.shape[2:], mode="bilinear", align_corners=False)
