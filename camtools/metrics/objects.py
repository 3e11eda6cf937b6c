"""Scores of single objects, such as glands: how many were found, and how well each of them was outlined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from monai.utils import convert_to_tensor
from scipy import ndimage
from torch import Tensor

from camtools.metrics.checks import check_same_shape
from camtools.metrics.counts import Counts

__all__ = ["ObjectCounts", "connected_objects", "object_counts"]


@dataclass(frozen=True)
class ObjectCounts(Counts):
    r"""Detection F1 and object-level Dice of the GlaS challenge over any number of images; counts add up with ``+``.

    Each predicted object :math:`S_i` is compared with the true object :math:`G_i` of the same image that it overlaps
    most (of several, the one with the smallest number), and each true object :math:`\tilde G_j` with the predicted
    :math:`\tilde S_j` that overlaps it most.

    *Detection.* :math:`S_i` is a true positive when :math:`|S_i \cap G_i| \ge |G_i| / 2`, else a false positive. A true
    object that made no predicted one a true positive is a false negative. Precision, recall and F1 follow. A large
    predicted object that covers several true objects counts as a hit for at most one of them; two halves of one true
    object are both hits.

    *Object-level Dice.*

    .. math::
        Dice_{obj} = \frac12 \Big[ \sum_{i=1}^{n_S} \omega_i \, Dice(G_i, S_i)
        + \sum_{j=1}^{n_G} \tilde\omega_j \, Dice(\tilde G_j, \tilde S_j) \Big], \quad
        \omega_i = \frac{|S_i|}{\sum_k |S_k|}, \quad \tilde\omega_j = \frac{|\tilde G_j|}{\sum_k |\tilde G_k|}

    An object that overlaps nothing contributes 0. The challenge defines :math:`n_S` and :math:`n_G` over the objects of
    *all* images of a test set, so the weights are areas as a share of the whole set: it is not a mean over images.

    Empty cases: without true and predicted objects F1, precision, recall and Dice are 1; where exactly one kind is
    missing they are 0.

    Source: Sirinukunwattana et al., "Gland segmentation in colon histology images: The GlaS challenge contest",
    Medical Image Analysis 35, 2017, evaluation. At exactly one half, the text of the challenge counts a hit; its code,
    as translated by other authors, requires more than one half.

    Attributes:
        true_positive: predicted objects that cover half of a true one, >= 0.
        false_positive: the other predicted objects, >= 0.
        false_negative: true objects that no predicted one covers by half, >= 0.
        predicted_area: pixels of all predicted objects.
        predicted_match: sum of ``|S_i| Dice(G_i, S_i)`` over the predicted objects.
        true_area: pixels of all true objects.
        true_match: sum of ``|G_j| Dice(G_j, S_j)`` over the true objects.

    Raises:
        ValueError: a negative count.

    Example:
        >>> found = ObjectCounts(1, 0, 0, predicted_area=4, predicted_match=4.0, true_area=4, true_match=4.0)
        >>> both = found + ObjectCounts(false_negative=1, true_area=12)
        >>> round(both.f1, 3), both.dice
        (0.667, 0.625)
    """

    counted_with: ClassVar[str] = "object_counts"

    predicted_area: int = 0
    predicted_match: float = 0.0
    true_area: int = 0
    true_match: float = 0.0

    @property
    def dice(self) -> float:
        """Object-level Dice, 0 to 1."""
        if self.predicted_area == 0 or self.true_area == 0:
            return float(self.predicted_area == self.true_area)
        return (self.predicted_match / self.predicted_area + self.true_match / self.true_area) / 2


def object_counts(prediction: Tensor, truth: Tensor) -> ObjectCounts:
    """Count and match the objects of a batch of images, all of them pooled.

    Args:
        prediction: number of the object at each pixel, 0 for the background: integers >= 0, shape ``(B, H, W)``. Each
            number within an image is one object, connected or not; numbers may be missing. See
            :func:`connected_objects` for a mask of 0 and 1.
        truth: ground truth, same shape; its numbers need not match the numbers in ``prediction``.

    Returns:
        The counts; add the counts of further batches with ``+``.

    Raises:
        ValueError: shapes that differ or are not ``(B, H, W)``, values that are not integers, or negative ones.

    Example:
        >>> truth = torch.zeros(1, 6, 6, dtype=torch.uint8)
        >>> truth[0, :2, :2], truth[0, 4:, 4:] = 1, 2
        >>> prediction = torch.where(truth == 1, 7, 0)
        >>> counts = object_counts(prediction, truth)
        >>> counts.precision, counts.recall, counts.dice
        (1.0, 0.5, 0.75)
    """
    check_same_shape(prediction, truth)
    pairs = zip(_checked_numbers(prediction, "prediction"), _checked_numbers(truth, "truth"), strict=True)
    return sum((_counts_of_image(predicted, true) for predicted, true in pairs), ObjectCounts())


def connected_objects(mask: Tensor, connectivity: int = 8) -> Tensor:
    """Number the connected components of masks, to use them as predicted objects.

    Args:
        mask: masks of 0 and 1, shape ``(B, H, W)``; pixels of different images are never connected.
        connectivity: 8 (default): pixels touch along sides and corners; 4: along sides only, which separates objects
            that meet at a corner.

    Returns:
        int64 tensor of shape ``(B, H, W)`` on the device of ``mask``: 0 for the background, else the number of the
        component, from 1 in raster order over the whole batch.

    Raises:
        ValueError: another shape or connectivity, or values other than 0 and 1.

    Example:
        >>> mask = torch.eye(2, dtype=torch.bool)[None]
        >>> connected_objects(mask).tolist(), connected_objects(mask, connectivity=4).tolist()
        ([[[1, 0], [0, 1]]], [[[1, 0], [0, 2]]])
    """
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity: expected 4 or 8, found {connectivity}; 8 lets pixels touch at corners.")
    plain = _plain_images(mask, "mask")
    other = plain[(plain != 0) & (plain != 1)]
    if len(other) > 0:
        raise ValueError(
            f"mask: expected 0 and 1, found the value {other[0].item():g}; threshold it first (mask > 0.5)."
        )
    touching = np.zeros((3, 3, 3), dtype=bool)
    touching[1] = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    numbers, _ = ndimage.label(plain.cpu().numpy(), structure=touching)
    return torch.from_numpy(numbers.astype(np.int64)).to(mask.device)


def _counts_of_image(prediction: Tensor, truth: Tensor) -> ObjectCounts:
    predicted, rows = torch.unique(prediction, return_inverse=True)
    true, columns = torch.unique(truth, return_inverse=True)
    pixels = torch.bincount((rows * len(true) + columns).flatten(), minlength=len(predicted) * len(true))
    pixels = pixels.reshape(len(predicted), len(true))
    predicted_area, true_area = pixels.sum(dim=1)[predicted > 0], pixels.sum(dim=0)[true > 0]
    shared = pixels[predicted > 0][:, true > 0]
    areas = int(predicted_area.sum()), int(true_area.sum())
    if shared.numel() == 0:
        return ObjectCounts(0, len(predicted_area), len(true_area), areas[0], 0.0, areas[1], 0.0)
    overlap, partner = shared.max(dim=1)
    hit = 2 * overlap >= true_area[partner]
    hits = int(hit.sum())
    return ObjectCounts(
        true_positive=hits,
        false_positive=len(hit) - hits,
        false_negative=len(true_area) - len(torch.unique(partner[hit])),
        predicted_area=areas[0],
        predicted_match=_weighted_dice(predicted_area, true_area, shared),
        true_area=areas[1],
        true_match=_weighted_dice(true_area, predicted_area, shared.T),
    )


def _weighted_dice(own: Tensor, other: Tensor, shared: Tensor) -> float:
    """Sum over the objects of one side of area times Dice with the object of the other side that overlaps most."""
    overlap, partner = shared.max(dim=1)
    return float((own * 2 * overlap / (own + other[partner]).double()).sum())


def _checked_numbers(numbers: Tensor, name: str) -> Tensor:
    plain = _plain_images(numbers, name)
    if plain.dtype == torch.bool or plain.is_floating_point() or plain.is_complex():
        raise ValueError(
            f"{name}: expected integers that number the objects, found {plain.dtype}; "
            "number the parts of a mask with connected_objects."
        )
    if plain.numel() and int(plain.min()) < 0:
        raise ValueError(f"{name}: expected numbers of objects >= 0, found {int(plain.min())}; 0 is the background.")
    return plain


def _plain_images(images: Tensor, name: str) -> Tensor:
    if images.ndim != 3:
        raise ValueError(
            f"{name}: expected images of shape (B, H, W), found {tuple(images.shape)}; "
            "drop a channel axis with images[:, 0]."
        )
    plain: Tensor = convert_to_tensor(images, track_meta=False)
    return plain
