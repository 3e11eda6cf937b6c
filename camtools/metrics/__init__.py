"""Agreement of masks: Dice, IoU and HD95 per volume and per slice, pooled counts of pixels and of single objects."""

from camtools.metrics.objects import ObjectCounts, connected_objects, object_counts
from camtools.metrics.pixels import PixelCounts, TwoClassCounts, pixel_counts, two_class_counts
from camtools.metrics.segmentation import SegmentationScores, dice, hd95, iou, slice_scores, volume_scores

__all__ = [
    "ObjectCounts",
    "PixelCounts",
    "SegmentationScores",
    "TwoClassCounts",
    "connected_objects",
    "dice",
    "hd95",
    "iou",
    "object_counts",
    "pixel_counts",
    "slice_scores",
    "two_class_counts",
    "volume_scores",
]
