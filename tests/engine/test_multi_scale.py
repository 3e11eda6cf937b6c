"""camtools.engine.MultiScaleInferer: mean probabilities over sizes and mirror images."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer, SliceInferer
from torch import nn
from torch.nn import functional as F

from camtools.engine import MultiScaleInferer


class Blur(nn.Module):
    """Two logits from an asymmetric filter, so that mirroring matters."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        nn.init.uniform_(self.filter.weight, -1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.filter(images)


@pytest.fixture
def network() -> Blur:
    torch.manual_seed(0)
    return Blur().requires_grad_(False)


def test_one_view_is_the_softmax_of_the_logits(network: Blur) -> None:
    images = torch.rand(2, 1, 9, 7)
    found = MultiScaleInferer(SimpleInferer(), scales=[1.0], flips=[[]])(images, network)
    assert torch.equal(found, network(images).softmax(dim=1))


def test_mean_over_all_views(network: Blur) -> None:
    images = torch.rand(2, 1, 8, 12)
    found = MultiScaleInferer(SimpleInferer(), scales=[0.5, 2.0], flips=[[], [0], [0, 1]])(images, network)
    expected = torch.zeros(2, 2, 8, 12)
    for size in ((4, 6), (16, 24)):
        resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        for axes in ([], [2], [2, 3]):
            shares = network(resized.flip(axes)).flip(axes).softmax(dim=1)
            expected += F.interpolate(shares, size=(8, 12), mode="bilinear", align_corners=False) / 6
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 8, 12))


def test_volumes_are_predicted_slice_by_slice(network: Blur) -> None:
    volume = torch.rand(1, 1, 8, 12, 3)
    scales, flips = [0.75, 1.0], [[], [1]]
    windows = SliceInferer(roi_size=[-1, -1], sw_batch_size=2, spatial_dim=2)
    found = MultiScaleInferer(windows, scales, flips)(volume, network)
    single = MultiScaleInferer(SimpleInferer(), scales, flips)
    for k in range(3):
        torch.testing.assert_close(found[..., k], single(volume[..., k], network))


def test_symmetric_views_do_not_mirror_the_result() -> None:
    images = torch.zeros(1, 2, 6, 8)
    images[0, 1, 1, 2] = 5
    found = MultiScaleInferer(SimpleInferer(), scales=[1.0])(images, nn.Identity())
    assert torch.equal(found, images.softmax(dim=1))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"scales to be one or more positive numbers, found \(1.0, -2.0\)"):
        MultiScaleInferer(SimpleInferer(), scales=[1.0, -2.0])
    with pytest.raises(ValueError, match=r"one or more lists of axes, 0 or 1, found \[\[2\]\]"):
        MultiScaleInferer(SimpleInferer(), flips=[[2]])
    with pytest.raises(ValueError, match=r"Expected flips to be one or more .* found \[\]"):
        MultiScaleInferer(SimpleInferer(), flips=[])
