"""Networks whose activations make good activation maps, and the maps as a network."""

from camtools.networks.cam_segmenter import CAMSegmenter
from camtools.networks.contrastive import ContrastiveNetwork
from camtools.networks.resnet18_cam import ResNet18CAM
from camtools.networks.vgg16_cam import VGG16CAM

__all__ = ["VGG16CAM", "CAMSegmenter", "ContrastiveNetwork", "ResNet18CAM"]
