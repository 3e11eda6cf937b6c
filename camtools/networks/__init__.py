"""Networks whose activations make good activation maps."""

from camtools.networks.vgg16_cam import VGG16CAM

__all__ = ["VGG16CAM"]
