"""Precision, recall, F1 and IoU of the object class from pixel counts pooled over many slices."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from camtools.metrics.checks import checked_masks

__all__ = ["PixelCounts", "pixel_counts"]


@dataclass(frozen=True)
class PixelCounts:
    r"""Pixels of the object class counted over any number of slices; counts add up with ``+``.

    .. math::
        P = \frac{TP}{TP + FP}, \quad R = \frac{TP}{TP + FN}, \quad
        F_1 = \frac{2 TP}{2 TP + FP + FN} = \frac{2 P R}{P + R}, \quad
        IoU = \frac{TP}{TP + FP + FN} = \frac{F_1}{2 - F_1}

    All four are fractions of the pooled counts, so a large object weighs more than a small one. They are what the
    LTGrad-CAM paper reports for one object class: every row of its table 4 (KSDD2) satisfies F1 = 2PR/(P + R) and
    mIoU = F1/(2 - F1) to the last digit printed. That holds for pooled counts of the object class, and in general not
    for means over images or over object and background. Its ``mIoU`` is thus the IoU of the object class. Table 3
    (VOC, 20 classes) does not satisfy them: means over classes stand there.

    Empty masks: when there is neither object nor prediction all four are 1; when exactly one is missing all four are
    0, also a precision without a predicted pixel and a recall without an object pixel. Nothing is ever NaN, and the
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

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __post_init__(self) -> None:
        """Check the counts."""
        if min(self.true_positive, self.false_positive, self.false_negative) < 0:
            raise ValueError(f"expected counts of pixels, 0 or more, found {self}; count with pixel_counts")

    def __add__(self, other: PixelCounts) -> PixelCounts:
        """Counts of the slices of both."""
        return PixelCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def precision(self) -> float:
        """Share of the predicted pixels that lie on the object, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the object's pixels that were predicted, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (micro-F1: of the pooled counts), 0 to 1."""
        return self._share(2 * self.true_positive, 2 * self.true_positive + self._wrong)

    @property
    def iou(self) -> float:
        """Intersection over union of the object class, 0 to 1."""
        return self._share(self.true_positive, self.true_positive + self._wrong)

    @property
    def _wrong(self) -> int:
        return self.false_positive + self.false_negative

    def _share(self, part: int, whole: int) -> float:
        if whole > 0:
            return part / whole
        return 0.0 if self._wrong else 1.0


def pixel_counts(prediction: Tensor, truth: Tensor) -> PixelCounts:
    """Count the pixels of a batch of masks, all slices pooled.

    Args:
        prediction: masks of 0 and 1, shape ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``.
        truth: ground truth, same shape.

    Returns:
        The counts; add those of further batches with ``+``.

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
