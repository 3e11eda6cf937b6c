"""Dice, IoU and 95% Hausdorff distance of binary masks, per volume and per slice.

Empty masks never give NaN, so means stay finite and a missed object lowers the score:

- both masks empty: Dice 1, IoU 1, HD95 0;
- exactly one mask empty: Dice 0, IoU 0, HD95 = the diagonal of the image, ``sqrt(sum((size * spacing)**2))``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou
from torch import Tensor

from camtools.metrics.checks import check_same_shape, checked_masks, checked_spacing

__all__ = ["SegmentationScores", "dice", "hd95", "iou", "slice_scores", "volume_scores"]


@dataclass(frozen=True)
class SegmentationScores:
    """Agreement of one predicted mask with its ground truth.

    Attributes:
        dice: Dice coefficient, 0 to 1.
        iou: intersection over union, 0 to 1.
        hd95_px: 95% Hausdorff distance in pixels or voxels, >= 0.
        hd95_mm: the same in millimetres, or None when the spacing is not known.
    """

    dice: float
    iou: float
    hd95_px: float
    hd95_mm: float | None = None


def dice(prediction: Tensor, truth: Tensor) -> Tensor:
    """Dice coefficient ``2 |P and T| / (|P| + |T|)`` of each sample (the DSC of the papers, as a fraction).

    Empty masks: 1 when both are empty, 0 when exactly one is.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.

    Returns:
        float32 tensor of shape ``(B,)``, values in [0, 1], on the device of ``prediction``.

    Raises:
        ValueError: shapes that differ or are not those above, or values other than 0 and 1.

    Example:
        >>> truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> truth[..., :2, :2] = True
        >>> dice(truth.roll(1, dims=-1), truth)
        tensor([0.5000])
    """
    prediction, truth = checked_masks(prediction, truth)
    scores: Tensor = compute_dice(prediction, truth, ignore_empty=False)
    return scores[:, 0]


def iou(prediction: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union ``|P and T| / |P or T|`` of each sample (Jaccard index).

    Empty masks: 1 when both are empty, 0 when exactly one is.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.

    Returns:
        float32 tensor of shape ``(B,)``, values in [0, 1], on the device of ``prediction``.

    Raises:
        ValueError: shapes that differ or are not those above, or values other than 0 and 1.

    Example:
        >>> truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> truth[..., :2, :2] = True
        >>> iou(truth.roll(1, dims=-1), truth)
        tensor([0.3333])
    """
    prediction, truth = checked_masks(prediction, truth)
    scores: Tensor = compute_iou(prediction, truth, ignore_empty=False)
    return scores[:, 0]


def hd95(prediction: Tensor, truth: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Symmetric 95% Hausdorff distance between the outlines of each sample, in pixels/voxels or millimetres.

    The definition is MONAI's: the outline of a mask is its pixels that touch the background or the image border by
    a side (2D) or a face (3D); a directed distance is the 95th percentile (linear interpolation), over the pixels of
    one outline, of the Euclidean distance to the nearest pixel of the other; HD95 is the larger of the two directed
    distances. Every outline pixel has the same weight, regardless of the area that it represents.

    A volume with one slice, ``(B, 1, X, Y, 1)``, is measured as the 2D image it is: in 3D all of its voxels would be
    outline. Empty masks: 0 when both are empty, the diagonal of the image when exactly one is.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.
        spacing: pixel or voxel size along each spatial axis, in mm. None measures in pixels or voxels.

    Returns:
        float32 tensor of shape ``(B,)``, >= 0 and finite, on the device of ``prediction``.

    Raises:
        ValueError: shapes that differ or are not those above, values other than 0 and 1, or a spacing that does not
            have one positive number per spatial axis.

    Example:
        >>> truth = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        >>> truth[..., 2:4, 2:4] = True
        >>> hd95(truth.roll(3, dims=-1), truth, spacing=(1.0, 0.5))
        tensor([1.5000])
    """
    prediction, truth = checked_masks(prediction, truth)
    sizes = list(checked_spacing(spacing, prediction.ndim - 2))
    device = prediction.device
    # MONAI finds outlines on the CPU anyway, and its nearest-outline search is exact and fast there.
    prediction, truth = prediction.cpu(), truth.cpu()
    if prediction.ndim == 5 and prediction.shape[-1] == 1:
        prediction, truth, sizes = prediction[..., 0], truth[..., 0], sizes[:-1]

    has_prediction, has_truth = prediction.flatten(1).any(dim=1), truth.flatten(1).any(dim=1)
    diagonal = math.hypot(*(size * step for size, step in zip(prediction.shape[2:], sizes, strict=True)))
    distances = torch.where(has_prediction == has_truth, 0.0, diagonal)
    both = has_prediction & has_truth
    if both.any():
        with warnings.catch_warnings():
            # MONAI 1.6 passes its own deprecated argument and warns about it at every call.
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
            distances[both] = compute_hausdorff_distance(
                prediction[both], truth[both], include_background=True, percentile=95, spacing=sizes
            )[:, 0]
    return distances.to(device)


def volume_scores(prediction: Tensor, truth: Tensor, spacing: Sequence[float] | None = None) -> SegmentationScores:
    """Scores of one predicted volume in 3D.

    Args:
        prediction: mask of 0 and 1, shape ``(X, Y, Z)``; one slice is scored as a 2D image.
        truth: ground truth, same shape.
        spacing: voxel size along X, Y and Z in mm, or None when it is not known.

    Returns:
        The scores; ``hd95_mm`` is None without a spacing.

    Raises:
        ValueError: as :func:`dice` and :func:`hd95`.

    Example:
        >>> truth = torch.zeros(8, 8, 4, dtype=torch.bool)
        >>> truth[2:6, 2:6, 1:3] = True
        >>> volume_scores(truth, truth, spacing=(1.0, 1.0, 5.0))
        SegmentationScores(dice=1.0, iou=1.0, hd95_px=0.0, hd95_mm=0.0)
    """
    _check_volumes(prediction, truth)
    return _scores(prediction[None, None], truth[None, None], spacing)[0]


def slice_scores(
    prediction: Tensor, truth: Tensor, spacing: Sequence[float] | None = None, *, positive_only: bool = True
) -> list[tuple[int, SegmentationScores]]:
    """Scores of each slice of a volume in 2D, as the papers score pseudo-masks.

    Args:
        prediction: mask of 0 and 1, shape ``(X, Y, Z)``; the slice axis is the last.
        truth: ground truth, same shape.
        spacing: voxel size along X, Y and Z in mm, or None when it is not known.
        positive_only: score only slices whose ground truth has the object. Empty slices scored as 1 would hide
            differences between methods.

    Returns:
        ``(slice index, scores)`` in ascending order, empty when no slice is kept; ``hd95_mm`` is None without a
        spacing.

    Raises:
        ValueError: as :func:`dice` and :func:`hd95`.

    Example:
        >>> truth = torch.zeros(8, 8, 4, dtype=torch.bool)
        >>> truth[2:6, 2:6, 1:3] = True
        >>> [index for index, _ in slice_scores(truth, truth)]
        [1, 2]
    """
    _check_volumes(prediction, truth)
    in_plane = None if spacing is None else checked_spacing(spacing, 3)[:2]
    kept = truth.flatten(0, 1).any(dim=0) if positive_only else torch.ones(truth.shape[-1], dtype=torch.bool)
    indices = kept.nonzero().flatten().tolist()
    if not indices:
        return []
    slices = [volume.movedim(-1, 0)[indices, None] for volume in (prediction, truth)]
    return list(zip(indices, _scores(slices[0], slices[1], in_plane), strict=True))


def _scores(prediction: Tensor, truth: Tensor, spacing: Sequence[float] | None) -> list[SegmentationScores]:
    columns = [metric(prediction, truth).tolist() for metric in (dice, iou, hd95)]
    columns.append([None] * len(truth) if spacing is None else hd95(prediction, truth, spacing).tolist())
    return [SegmentationScores(*values) for values in zip(*columns, strict=True)]


def _check_volumes(prediction: Tensor, truth: Tensor) -> None:
    for name, volume in (("prediction", prediction), ("truth", truth)):
        if volume.ndim != 3:
            raise ValueError(
                f"{name}: expected one volume of shape (X, Y, Z), found {tuple(volume.shape)}; "
                "drop a channel axis with volume[0]."
            )
    check_same_shape(prediction, truth)
