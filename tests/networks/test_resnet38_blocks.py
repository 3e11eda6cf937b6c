from __future__ import annotations

import pytest
import torch
from torch import nn

from camtools.networks.norms import FrozenBatchNorm2d
from camtools.networks.resnet38_blocks import BasicBlock, BottleneckBlock
from tests.cam_networks import vary_norms
from tests.reference.networks import basic_block, bottleneck_block


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        ((6, 4, 6), {}),
        ((6, 4, 5), {"dilation": 2, "first_dilation": 1}),
        ((6, 4, 5), {"stride": 2}),
        ((6, 5, 6), {"stride": 2}),
        ((5, 4, 5), {"dilation": 2}),
    ],
)
def test_basic_block_matches_reference(channels: tuple[int, int, int], options: dict[str, int]) -> None:
    block = vary_norms(BasicBlock(*channels, nn.BatchNorm2d, **options)).double().eval()
    images = torch.randn(2, channels[0], 7, 6, dtype=torch.float64)
    dilation = options.get("dilation", 1)
    dilations = (options.get("first_dilation", dilation), dilation)
    weights = dict(block.state_dict())
    expected = [basic_block(image, weights, options.get("stride", 1), dilations) for image in images]
    with torch.no_grad():
        torch.testing.assert_close(block(images), torch.stack(expected))
        torch.testing.assert_close(block(images, block.activate(images)), torch.stack(expected))


@pytest.mark.parametrize("channels", [(6, (3, 4), 8), (6, (3, 4), 6)])
def test_bottleneck_block_matches_reference(channels: tuple[int, tuple[int, int], int]) -> None:
    block = vary_norms(BottleneckBlock(*channels, nn.BatchNorm2d, dilation=4, dropout=0.5)).double().eval()
    images = torch.randn(2, channels[0], 7, 6, dtype=torch.float64)
    expected = torch.stack([bottleneck_block(image, dict(block.state_dict()), dilation=4) for image in images])
    with torch.no_grad():
        torch.testing.assert_close(block(images), expected)


def test_dropouts_of_a_bottleneck_come_after_the_activations() -> None:
    block = vary_norms(BottleneckBlock(6, (3, 4), 8, FrozenBatchNorm2d, dilation=4, dropout=0.0)).train()
    images = torch.randn(2, 6, 7, 5)
    with torch.no_grad():
        shortcut = block.conv_branch1(block.activate(images))
        block.dropout_2b1.p = 1.0  # nothing enters the second convolution
        constant = block.conv_branch2b2(block.bn_branch2b2(torch.zeros(2, 4, 7, 5)).relu())
        torch.testing.assert_close(block(images), shortcut + constant)
        block.dropout_2b2.p = 1.0
        torch.testing.assert_close(block(images), shortcut)
    assert constant.abs().max() > 1e-2
