"""Networks whose activations make good activation maps, and the maps as a network."""

from camtools.networks.by_name import cam_classifier, expected_intensities, usual_norm
from camtools.networks.cam_segmenter import CAMSegmenter
from camtools.networks.contrastive import ContrastiveNetwork
from camtools.networks.efficientnet_lite_cam import EfficientNetLite0CAM
from camtools.networks.ensemble import Ensemble, members_of
from camtools.networks.lite0_encoder import EfficientNetLite0Encoder
from camtools.networks.lite0_unet import EfficientNetLite0UNet
from camtools.networks.placement import place_network
from camtools.networks.psp_net import PSPNet
from camtools.networks.resnet18_cam import ResNet18CAM
from camtools.networks.resnet38 import ResNet38
from camtools.networks.vgg16_cam import VGG16CAM

__all__ = [
    "VGG16CAM",
    "CAMSegmenter",
    "ContrastiveNetwork",
    "EfficientNetLite0CAM",
    "EfficientNetLite0Encoder",
    "EfficientNetLite0UNet",
    "Ensemble",
    "PSPNet",
    "ResNet18CAM",
    "ResNet38",
    "cam_classifier",
    "expected_intensities",
    "members_of",
    "place_network",
    "usual_norm",
]
