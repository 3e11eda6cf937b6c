"""Instance normalisation in channels-last format: camtools.networks.norms."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNet
from torch import nn
from torch.nn import functional as F

from camtools.networks.norms import fast_instance_norm
from camtools.transforms import PredictVolumed

CHANNELS_LAST = torch.channels_last


def u_net() -> BasicUNet:
    torch.manual_seed(0)
    return BasicUNet(2, 1, 2, features=(8, 8, 16, 16, 16, 8)).eval()


def formats_of_norms(network: nn.Module) -> set[bool]:
    """Filled by the passes to come: whether the outputs of the first normalisation are channels last."""
    seen: set[bool] = set()
    norm = next(module for module in network.modules() if isinstance(module, nn.InstanceNorm2d))
    norm.register_forward_hook(
        lambda module, inputs, output: seen.add(output.is_contiguous(memory_format=CHANNELS_LAST))
    )
    return seen


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_differ_by_rounding(batch: int) -> None:
    network = u_net()
    images = torch.rand(batch, 1, 64, 48)
    seen = formats_of_norms(network)
    with torch.no_grad():
        plain = network(images)
        with fast_instance_norm(network):
            fast = network(images)
    assert seen == {False, True}
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    assert not torch.equal(fast, plain)


@pytest.mark.parametrize("affine", [True, False])
def test_normalises_channels_that_vary_little(affine: bool) -> None:
    torch.manual_seed(0)
    images = (torch.randn(2, 4, 128, 128) * 0.1 + 20).contiguous(memory_format=CHANNELS_LAST)
    norm = nn.InstanceNorm2d(4, affine=affine)
    exact = F.instance_norm(images.double())
    with fast_instance_norm(norm), torch.no_grad():
        found = norm(images)
    assert found.is_contiguous(memory_format=CHANNELS_LAST)
    assert (found - exact).abs().max() < 5e-3
    assert (F.group_norm(images, 4) - exact).abs().max() > 0.1  # why GroupNorm is not used


def test_blank_slices_give_the_same_logits() -> None:
    torch.manual_seed(0)
    network = u_net()
    for norm in network.modules():
        if isinstance(norm, nn.InstanceNorm2d):
            nn.init.normal_(norm.bias, std=0.1)
    images = torch.rand(4, 1, 256, 256)
    images[[0, 2]] = torch.tensor([0.0, 0.3]).view(2, 1, 1, 1)
    with torch.no_grad():
        plain = network(images)
        with fast_instance_norm(network):
            fast = network(images)
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3)


def fail_within(network: nn.Module) -> None:
    keys = list(network.state_dict())
    with fast_instance_norm(network):
        assert list(network.state_dict()) == keys
        weights = [weight for weight in network.parameters() if weight.ndim == 4]
        assert all(weight.stride(1) == 1 for weight in weights)
        raise ZeroDivisionError


def test_network_is_given_back_as_it_was() -> None:
    network = u_net()
    before = {name: (weight, weight.data_ptr(), weight.stride()) for name, weight in network.named_parameters()}
    with pytest.raises(ZeroDivisionError):
        fail_within(network)
    for name, weight in network.named_parameters():
        assert weight is before[name][0]
        assert (weight.data_ptr(), weight.stride()) == before[name][1:]
    assert not [module for module in network.modules() if "forward" in vars(module)]


def test_gradients_and_other_inputs_go_through_the_layer_itself() -> None:
    norm = nn.InstanceNorm2d(3, affine=True)
    images = torch.rand(2, 3, 6, 5).contiguous(memory_format=CHANNELS_LAST)
    with fast_instance_norm(norm):
        norm(images).sum().backward()
        assert norm.weight.grad is not None
        with torch.no_grad():
            assert torch.equal(norm(images.contiguous()), F.instance_norm(images.contiguous()))
            assert torch.equal(norm(images[0]), F.instance_norm(images[:1])[0])
            assert isinstance(norm(MetaTensor(images)), MetaTensor)
            assert norm.double()(images.double()).dtype == torch.float64


def test_other_networks_are_left_alone() -> None:
    running = nn.InstanceNorm2d(4, track_running_stats=True)
    for network in (nn.Sequential(nn.Conv2d(3, 4, 3), running), torch.jit.script(u_net())):
        weights = [(weight.data_ptr(), weight.stride()) for weight in network.parameters()]
        with fast_instance_norm(network):
            assert [(weight.data_ptr(), weight.stride()) for weight in network.parameters()] == weights
        assert "forward" not in vars(running)


@pytest.mark.parametrize(("channels_last", "expected"), [(None, True), (True, True), (False, False)])
def test_prediction_uses_it_unless_told_otherwise(channels_last: bool | None, expected: bool) -> None:
    network = u_net()
    seen = formats_of_norms(network)
    inferer = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=2)
    volume = MetaTensor(torch.rand(1, 32, 48, 3))
    PredictVolumed(network, inferer, channels_last=channels_last)({"image": volume})
    assert seen == {expected}
    assert not [module for module in network.modules() if "forward" in vars(module)]
