"""Precision, recall, F1, IoU and Dice from pixel counts pooled over many slices, of the object and of both classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from camtools.metrics.checks import checked_masks
from camtools.metrics.counts import Counts

__all__ = ["PixelCounts", "TwoClassCounts", "pixel_counts", "two_class_counts"]


@dataclass(frozen=True)
class PixelCounts(Counts):
    r"""Pixels of the object class counted over any number of slices; counts add up with ``+``.

    .. math::
        P = \frac{TP}{TP + FP}, \quad R = \frac{TP}{TP + FN}, \quad
        F_1 = \frac{2 TP}{2 TP + FP + FN} = \frac{2 P R}{P + R}, \quad
        IoU = \frac{TP}{TP + FP + FN} = \frac{F_1}{2 - F_1}

    All four are fractions of the pooled counts, so a large object weighs more than a small one. They are what the
    LTGrad-CAM paper reports for one object class: every row of its table 4 (KSDD2) satisfies F1 = 2PR/(P + R) and
    mIoU = F1/(2 - F1) to the last digit printed. That holds for pooled counts of the object class, and in general not
    for means over images or over object and background. Its ``mIoU`` is thus the IoU of the object class. Table 3
    (VOC, 20 classes) does not satisfy them, because it gives means over classes.

    Empty masks: when there is neither object nor prediction all four are 1; when exactly one is missing all four are
    0, also a precision without a predicted pixel and a recall without an object pixel. No value is ever NaN, and the
    identities above hold wherever P + R > 0.

    Source: LTGrad-CAM (Dong et al., 2023), section 3.1 (metrics) and table 4.

    Attributes:
        true_positive: pixels of the object that were predicted, >= 0.
        false_positive: predicted pixels outside the object, >= 0.
        false_negative: pixels of the object that were missed, >= 0.

    Raises:
        ValueError: a negative count.

    Example:
        >>> counts = PixelCounts(2, 1, 0) + PixelCounts(0, 0, 1)
        >>> round(counts.precision, 3), round(counts.recall, 3), round(counts.f1, 3), counts.iou
        (0.667, 0.667, 0.667, 0.5)
    """

    counted_with: ClassVar[str] = "pixel_counts"

    @property
    def iou(self) -> float:
        """Intersection over union of the object class, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self._wrong)


@dataclass(frozen=True)
class TwoClassCounts(PixelCounts):
    r"""Pixels of object and background counted over any number of slices; counts add up with ``+``.

    With :math:`IoU_c` and :math:`F_{1,c}` of the pooled pixels of class :math:`c`, where the hits of the background are
    the true negatives, and its false positives are the object's false negatives and vice versa:

    .. math::
        mIoU = \frac{IoU_o + IoU_b}{2}, \quad Dice = \frac{F_{1,o} + F_{1,b}}{2}, \quad
        Dice_{mIoU} = \frac{2 \, mIoU}{1 + mIoU}

    ``miou`` is the mean over the two classes, as is usual in semantic segmentation, and ``dice`` the mean of the Dice
    of both. The Dice column of the OEEM paper is :math:`Dice_{mIoU}`: every row of its table 1 satisfies it within the
    rounding of the two figures, also the rows taken from other papers, while a mean over classes does so only where
    both classes have the same IoU. (IoU and Dice of the object alone would satisfy it too, but then its pixel F1 column
    would equal its Dice column.) That column thus says nothing beyond mIoU, and it is never below ``dice``, since the
    function is concave. ``dice_of_miou`` gives it, to compare with the paper.

    Precision, recall, F1 and IoU still describe the object. A class that is absent from truth and prediction has IoU
    and Dice 1; one that is absent from exactly one of them has 0.

    Source: OEEM (Li et al., MICCAI 2022), tables 1 and 2.

    Attributes:
        true_positive: pixels of the object that were predicted, >= 0.
        false_positive: predicted pixels outside the object, >= 0.
        false_negative: pixels of the object that were missed, >= 0.
        true_negative: pixels of the background that were left out, >= 0.

    Raises:
        ValueError: a negative count.

    Example:
        >>> counts = TwoClassCounts(true_positive=2, false_positive=1, false_negative=1, true_negative=6)
        >>> counts.iou, counts.background.iou, counts.miou
        (0.5, 0.75, 0.625)
        >>> round(counts.dice, 3), round(counts.dice_of_miou, 3)
        (0.762, 0.769)
    """

    counted_with: ClassVar[str] = "two_class_counts"

    true_negative: int = 0

    @property
    def background(self) -> PixelCounts:
        """Counts of the background class."""
        return PixelCounts(self.true_negative, self.false_negative, self.false_positive)

    @property
    def miou(self) -> float:
        """Mean of the IoU of object and background, 0 to 1."""
        return (self.iou + self.background.iou) / 2

    @property
    def dice(self) -> float:
        """Mean of the Dice of object and background, 0 to 1."""
        return (self.f1 + self.background.f1) / 2

    @property
    def dice_of_miou(self) -> float:
        """``2 mIoU / (1 + mIoU)``, what the OEEM paper calls Dice, 0 to 1."""
        return 2 * self.miou / (1 + self.miou)


def pixel_counts(prediction: Tensor, truth: Tensor) -> PixelCounts:
    """Count the pixels of a batch of masks, all slices pooled.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.

    Returns:
        The counts; add the counts of further batches with ``+``.

    Raises:
        ValueError: shapes that differ or are not those above, or values other than 0 and 1.

    Example:
        >>> import torch
        >>> truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> truth[..., :2, :2] = True
        >>> pixel_counts(truth.roll(1, dims=-1), truth)
        PixelCounts(true_positive=2, false_positive=2, false_negative=2)
    """
    prediction, truth = checked_masks(prediction, truth)
    shared = int((prediction & truth).sum())
    return PixelCounts(shared, int(prediction.sum()) - shared, int(truth.sum()) - shared)


def two_class_counts(prediction: Tensor, truth: Tensor) -> TwoClassCounts:
    """Count the pixels of a batch of masks, all slices pooled, including the background.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.

    Returns:
        The counts; add the counts of further batches with ``+``.

    Raises:
        ValueError: as :func:`pixel_counts`.

    Example:
        >>> import torch
        >>> truth = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        >>> truth[..., :2, :2] = True
        >>> two_class_counts(truth.roll(1, dims=-1), truth).true_negative
        10
    """
    counts = pixel_counts(prediction, truth)
    hits, false, missed = counts.true_positive, counts.false_positive, counts.false_negative
    return TwoClassCounts(hits, false, missed, truth.numel() - hits - false - missed)
