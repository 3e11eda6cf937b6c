"""Networks whose activations make good activation maps, and the maps as a network."""

from camtools.networks.cam_segmenter import CAMSegmenter
from camtools.networks.vgg16_cam import VGG16CAM

__all__ = ["VGG16CAM", "CAMSegmenter"]
