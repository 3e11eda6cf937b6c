"""Where a network lives and how its weights lie: camtools.networks.placement."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNet

from camtools.networks import VGG16CAM, place_network
from camtools.transforms import PredictVolumed
from tests.conftest import oblique_affine

SLICES = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2)


def u_net() -> BasicUNet:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 8, 8, 4))


@pytest.mark.parametrize("channels_last", [True, False])
def test_prediction_in_either_memory_format(channels_last: bool) -> None:
    volume = MetaTensor(torch.rand(1, 32, 48, 3), affine=oblique_affine())
    plain = PredictVolumed(u_net(), SLICES)({"image": volume})["pred"]
    network = u_net().to(memory_format=torch.contiguous_format if channels_last else torch.channels_last)
    step = PredictVolumed(network, SLICES, channels_last=channels_last)
    assert step.network is network
    weights = [weight for weight in network.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
    assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights} == {channels_last}
    torch.testing.assert_close(step({"image": volume})["pred"].as_tensor(), plain.as_tensor(), rtol=1e-4, atol=1e-5)


def test_networks_stay_as_they_are_unless_told() -> None:
    for network, channels_last in ((VGG16CAM(width=0.0625), True), (torch.nn.Conv2d(2, 3, 3), False)):
        weights = [weight for weight in network.parameters() if weight.ndim == 4 and weight.shape[1] > 1]
        placed = place_network(network, "cpu")
        assert placed is network
        assert all(weight.is_contiguous(memory_format=torch.channels_last) == channels_last for weight in weights)
