"""The grids of a dilated convolution against the convolution itself."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from camtools.cams import LayerCAM
from camtools.networks import EfficientNetLite0CAM
from camtools.networks.dilated_depthwise import DilatedDepthwiseConv2d


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_grids_equal_the_dilated_convolution(dilation: int, batch: int) -> None:
    torch.manual_seed(0)
    layer = DilatedDepthwiseConv2d(5, kernel_size=3, dilation=dilation)
    images = torch.rand(batch, 5, 11, 14)
    expected = F.conv2d(images, layer.weight, padding=dilation, dilation=dilation, groups=5)
    torch.testing.assert_close(layer(images), expected)


@pytest.mark.parametrize("stride", [8, 16])
def test_maps_of_a_single_image_are_read(stride: int) -> None:
    torch.manual_seed(0)
    # double precision: where rounding moves a value over an edge of ReLU6, a gradient jumps
    network = EfficientNetLite0CAM(in_channels=1, output_stride=stride).double().eval()
    images = torch.rand(3, 1, 64, 96, dtype=torch.float64)
    cam = LayerCAM(network, network.cam_layers)
    torch.testing.assert_close(cam(images[:1], target=1), cam(images, target=1)[:1], rtol=1e-6, atol=1e-9)
