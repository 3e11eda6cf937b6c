"""Weights of ImageNet for VGG16CAM, from torchvision or a file."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import VGG, cfgs, make_layers

from camtools.networks import VGG16CAM
from camtools.networks.unit_images import imagenet_scale
from tests.narrow_vgg16 import HIDDEN, narrow_vgg16


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def torchvision_state() -> dict[str, torch.Tensor]:
    features = make_layers(cfgs["D"])  # the features of torchvision.models.vgg16 without its 124 M linear weights
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    return state | {"classifier.0.weight": torch.zeros(1)}


@pytest.fixture
def torchvision_vgg16(monkeypatch: pytest.MonkeyPatch) -> VGG:
    monkeypatch.setattr("camtools.networks.vgg16_cam.HIDDEN", HIDDEN)
    return narrow_vgg16()


@pytest.mark.parametrize("in_channels", [1, 3])
def test_pretrained_path_gives_torchvisions_convolutions(torchvision_state, tmp_path, in_channels):
    path = tmp_path / "vgg16.pth"
    torch.save(torchvision_state, path)
    model = VGG16CAM(in_channels=in_channels, pretrained=path).eval()
    features = make_layers(cfgs["D"]).eval()
    features.load_state_dict(
        {k.removeprefix("features."): v for k, v in torchvision_state.items() if k.startswith("features.")}
    )
    images = torch.rand(1, in_channels, 32, 32)
    # up to the end of block 4 the networks are the same; the summed first kernel sees the grey image in R, G and B
    torch.testing.assert_close(model.features[:23](images), features[:23](images.expand(-1, 3, -1, -1)))
    for ours, theirs in zip((24, 27, 30), (24, 26, 28), strict=True):
        torch.testing.assert_close(model.features[ours].weight, features[theirs].weight, rtol=0, atol=0)
        torch.testing.assert_close(model.features[ours].bias, features[theirs].bias, rtol=0, atol=0)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_unit_images_are_scaled_as_torchvisions_weights_expect(torchvision_state, tmp_path, in_channels):
    path = tmp_path / "vgg16.pth"
    torch.save(torchvision_state, path)
    model = VGG16CAM(in_channels=in_channels, pretrained=path, unit_images=True).eval()
    assert list(model.state_dict()) == list(VGG16CAM(width=0.0625).state_dict())
    first = nn.Conv2d(3, 64, kernel_size=3, padding=1)
    first.load_state_dict({key: torchvision_state[f"features.0.{key}"] for key in ("weight", "bias")})
    images = torch.rand(1, in_channels, 32, 32)
    with torch.no_grad():
        found = model.features[0](model.scale(images))
        expected = first(imagenet_scale(3)(images.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
        shallow, deep = model.feature_stages()
        torch.testing.assert_close(deep(shallow(images)).mean(dim=(2, 3)), model.embed(images))


def test_pretrained_fully_connected_head_keeps_its_own_class_layer(torchvision_vgg16, monkeypatch):
    expected = torchvision_vgg16.state_dict()
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda self, *args, **kwargs: expected)
    model = VGG16CAM(in_channels=1, dilated=False, head="fully_connected", pretrained=True).eval()
    other = VGG16CAM(in_channels=1, dilated=False, pretrained=True).eval()
    assert {key for key, value in model.state_dict().items() if not torch.equal(value, expected[key])} == {
        "features.0.weight",  # summed over RGB
        "classifier.6.weight",
        "classifier.6.bias",
    }
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        features = torchvision_vgg16.features(images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(model.features(images), features)
        torch.testing.assert_close(nn.functional.max_pool2d(other.features(images), 2), features)
    del expected["classifier.3.weight"]
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"dictionary of torchvision.models.vgg16, found classifier.3 missing; pass"),
    ):
        VGG16CAM(head="fully_connected", pretrained=True)


def test_pretrained_true_takes_torchvisions_weights(torchvision_state, monkeypatch):
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda self, *args, **kwargs: torchvision_state)
    model = VGG16CAM(in_channels=3, pretrained=True)
    torch.testing.assert_close(model.features[0].weight, torchvision_state["features.0.weight"], rtol=0, atol=0)


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", fail)
    with pytest.raises(RuntimeError, match=r"expected to download .*no route.* pretrained=PATH, or .* pretrained=F"):
        VGG16CAM(pretrained=True)


@pytest.mark.parametrize("change", [{"width": 0.5}, {"norm": "batch"}])
def test_pretrained_weights_need_the_same_network(change):
    with pytest.raises(ValueError, match=r"width=1.0 and norm=None for pretrained weights, found"):
        VGG16CAM(pretrained=True, **change)


def test_pretrained_file_of_another_network(tmp_path, torchvision_state):
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"dictionary of torchvision.models.vgg16, found features.0 missing; pass"):
        VGG16CAM(pretrained=path)
    torch.save(torchvision_state | {"features.5.weight": torch.zeros(1, 2, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"features.5 of shape \(1, 2, 3, 3\)"):
        VGG16CAM(pretrained=path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"expected a state dictionary of VGG-16, found a list in .*other.pth"):
        VGG16CAM(pretrained=path)
