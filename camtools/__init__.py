"""Segmentation from image-level labels.

``import camtools`` is enough for ``camtools.cams.GradCAM`` and every other part. Each is loaded when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

_PARTS = (
    "augment cams cli crf data engine fusion geodesic label losses metrics networks patches precision process report "
    "scores seeds sharing tag thresholds transforms tuning"
)

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=_PARTS.split())
