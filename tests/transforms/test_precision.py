"""Switches of a network that is not being trained: camtools.transforms.precision, camtools.networks.placement."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNet

from camtools.cams import GradCAM, PatchClassMaps
from camtools.networks import VGG16CAM, ResNet38, place_network
from camtools.patches import PatchGrid
from camtools.transforms import ActivationMapsd, PatchClassMapsd, PredictVolumed
from tests.conftest import oblique_affine

SLICES = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2)


@pytest.fixture
def volume() -> MetaTensor:
    torch.manual_seed(0)
    return MetaTensor(torch.rand(1, 32, 48, 3), affine=oblique_affine())


def u_net() -> BasicUNet:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 8, 8, 4))


def types_of_convolutions(network: torch.nn.Module) -> set[torch.dtype]:
    """Filled by the passes to come."""
    seen: set[torch.dtype] = set()
    convolution = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    return seen


def test_prediction_in_mixed_precision(volume: MetaTensor) -> None:
    network = u_net()
    seen = types_of_convolutions(network)
    plain = PredictVolumed(network, SLICES)({"image": volume})["pred"]
    half = PredictVolumed(network, SLICES, amp=True)({"image": volume})["pred"]
    assert seen == {torch.float32, torch.bfloat16}
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain)
    assert (half - plain).norm() < 0.05 * plain.norm()


@pytest.mark.parametrize("channels_last", [True, False])
def test_prediction_in_either_memory_format(volume: MetaTensor, channels_last: bool) -> None:
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


def test_activation_maps_in_mixed_precision(volume: MetaTensor) -> None:
    torch.manual_seed(0)
    network = VGG16CAM(width=0.0625, norm="batch").eval()
    seen = types_of_convolutions(network)
    cam = GradCAM(network, network.cam_layers)
    plain = ActivationMapsd(cam)({"image": volume})["maps"]
    half = ActivationMapsd(cam, amp=True)({"image": volume})["maps"]
    assert seen == {torch.float32, torch.bfloat16}
    assert half.dtype == torch.float32
    assert (half - plain).norm() < 0.1 * plain.norm()


def test_class_maps_of_patches_in_mixed_precision(volume: MetaTensor) -> None:
    torch.manual_seed(0)
    network = ResNet38(in_channels=1, width=0.02, norm="group")
    seen = types_of_convolutions(network)
    maps = PatchClassMaps(network, PatchGrid(16, 8), scales=(1.0,), input_size=24)
    plain = PatchClassMapsd(maps)({"image": volume})["cam"]
    half = PatchClassMapsd(maps, amp=True)({"image": volume})["cam"]
    assert seen == {torch.float32, torch.bfloat16}
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.as_tensor(), plain.as_tensor(), atol=0.05, rtol=0)
