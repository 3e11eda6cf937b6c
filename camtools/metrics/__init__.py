"""Agreement of masks: Dice, IoU and HD95 per volume and per slice, and pixel counts pooled over many slices."""

from camtools.metrics.pixels import PixelCounts, pixel_counts
from camtools.metrics.segmentation import SegmentationScores, dice, hd95, iou, slice_scores, volume_scores

__all__ = [
    "PixelCounts",
    "SegmentationScores",
    "dice",
    "hd95",
    "iou",
    "pixel_counts",
    "slice_scores",
    "volume_scores",
]
