from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet18_Weights, resnet18

from camtools.cams import GradCAM
from camtools.networks import ResNet18CAM
from camtools.networks.unit_images import imagenet_scale
from tests.cam_networks import vary_norms


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def torchvision_resnet18() -> ResNet:
    torch.manual_seed(1)
    return vary_norms(resnet18()).eval()


def small_network(**options: Any) -> ResNet18CAM:
    return ResNet18CAM(width=0.125, **options)


def test_is_torchvisions_resnet18(torchvision_resnet18: ResNet) -> None:
    model = ResNet18CAM(in_channels=3, num_classes=1000).eval()
    assert list(model.state_dict()) == list(torchvision_resnet18.state_dict())
    model.load_state_dict(torchvision_resnet18.state_dict())
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected = torchvision_resnet18(images)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-2
    assert model.embedding_size == 512


def test_cam_layers_are_the_stages() -> None:
    model = small_network(in_channels=2, num_classes=3).eval()
    shapes = []
    for name in model.cam_layers:
        model.get_submodule(name).register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape)))
    images = torch.rand(2, 2, 64, 96)
    assert model(images).shape == (2, 3)
    assert shapes == [(2, 16, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3)]
    assert GradCAM(model, model.cam_layers)(images, target=1).shape == (2, 4, 64, 96)


def test_logits_are_those_of_the_averaged_last_stage() -> None:
    model = small_network(num_classes=2).eval()
    stages: list[Tensor] = []
    model.layer4.register_forward_hook(lambda m, i, output: stages.append(output))
    embedding = model.embed(torch.rand(3, 1, 64, 96))
    assert embedding.shape == (3, model.embedding_size) == (3, 64)
    torch.testing.assert_close(embedding, stages[0].flatten(2).mean(dim=2))
    images = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(model(images), model.embed(images) @ model.fc.weight.T + model.fc.bias)


def test_width_keeps_at_least_sixteen_channels() -> None:
    model = ResNet18CAM(width=0.01)
    assert {layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)} == {16}
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 1)
    half = ResNet18CAM(width=0.5)
    assert [half.conv1.out_channels, half.fc.in_features] == [32, 256]


@pytest.mark.parametrize("in_channels", [1, 3])
def test_pretrained_path_gives_torchvisions_features(
    torchvision_resnet18: ResNet, tmp_path: Path, in_channels: int
) -> None:
    torch.save(torchvision_resnet18.state_dict(), tmp_path / "resnet18.pth")
    model = ResNet18CAM(in_channels=in_channels, pretrained=tmp_path / "resnet18.pth").eval()
    features = nn.Sequential(*list(torchvision_resnet18.children())[:-1], nn.Flatten())
    images = torch.rand(2, in_channels, 64, 64)
    with torch.no_grad():
        expected = features(images.expand(-1, 3, -1, -1))  # gray images are repeated in R, G and B
        torch.testing.assert_close(model.embed(images), expected, rtol=1e-4, atol=1e-5)
        assert model(images).shape == (2, 1)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_unit_images_are_scaled_as_torchvisions_weights_expect(
    torchvision_resnet18: ResNet, tmp_path: Path, in_channels: int
) -> None:
    torch.save(torchvision_resnet18.state_dict(), tmp_path / "resnet18.pth")
    model = ResNet18CAM(in_channels, pretrained=tmp_path / "resnet18.pth", unit_images=True, norm="frozen")
    assert list(model.state_dict()) == list(torchvision_resnet18.state_dict())
    images = torch.rand(2, in_channels, 64, 64)
    scaled = imagenet_scale(3)(images.expand(-1, 3, -1, -1))
    with torch.no_grad():
        expected = torchvision_resnet18.bn1(torchvision_resnet18.conv1(scaled))
        found = model.bn1(model.conv1(model.scale(images)))
        torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)
        shallow, deep = model.feature_stages()
        torch.testing.assert_close(deep(shallow(images)).mean(dim=(2, 3)), model.embed(images))
        if in_channels == 3:
            features = nn.Sequential(*list(torchvision_resnet18.children())[:-1], nn.Flatten())
            torch.testing.assert_close(model.embed(images), features(scaled), rtol=1e-4, atol=1e-5)


def test_weights_of_grey_images_are_read_back(torchvision_resnet18: ResNet, tmp_path: Path) -> None:
    torch.save(torchvision_resnet18.state_dict(), tmp_path / "resnet18.pth")
    model = ResNet18CAM(pretrained=tmp_path / "resnet18.pth", unit_images=True)
    torch.save(model.state_dict(), tmp_path / "grey.pth")
    again = ResNet18CAM(pretrained=tmp_path / "grey.pth", unit_images=True).state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items() if key[:3] != "fc.")


def test_norms() -> None:
    frozen = small_network(norm="frozen").train()
    frozen(torch.rand(2, 1, 64, 64)).sum().backward()
    assert frozen.layer2[0].downsample[1].weight.grad is None
    assert float(frozen.layer4[1].bn2.running_mean.abs().max()) == 0
    grouped = small_network(norm="group")
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in grouped.modules())
    grouped.eval()
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(grouped(images)[:1], grouped(images[:1]))
    with pytest.raises(ValueError, match="expected norm='batch' or 'frozen' for pretrained weights, found norm='gro"):
        ResNet18CAM(pretrained=True, norm="group")
    with pytest.raises(ValueError, match="expected norm to be one of batch, frozen, group, found 'instance'"):
        small_network(norm="instance")


def test_pretrained_keeps_its_own_class_layer_and_training_goes_on(
    torchvision_resnet18: ResNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as in torchvision's file, which is older than the counts of batches
    state = {k: v for k, v in torchvision_resnet18.state_dict().items() if not k.endswith("num_batches_tracked")}
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, *args, **kwargs: state)
    model = ResNet18CAM(in_channels=3, num_classes=1000, pretrained=True)
    own = model.state_dict()
    assert {key for key in state if not torch.equal(own[key], state[key])} == {"fc.weight", "fc.bias"}
    assert model.bn1.num_batches_tracked == 0
    model(torch.rand(2, 3, 32, 32))
    assert model.bn1.num_batches_tracked == 1


def test_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)
    message = r"expected to download torchvision's ResNet-18 weights, found .*no route.* pretrained=PATH, or .*=False"
    with pytest.raises(RuntimeError, match=message):
        ResNet18CAM(pretrained=True)


def test_pretrained_file_of_another_network(torchvision_resnet18: ResNet, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = torchvision_resnet18.state_dict()
    for wrong, found in [
        ({"layer.weight": torch.zeros(1)}, "conv1.weight missing; pass its file"),
        (state | {"layer2.0.conv1.weight": torch.zeros(1, 2)}, "layer2.0.conv1.weight of shape (1, 2); pass"),
        ({key: state[key] for key in state if key != "bn1.running_mean"}, "bn1.running_mean missing; pass"),
        (state | {"layer1.2.conv1.weight": torch.zeros(1)}, "layer1.2.conv1.weight that is not part of it; pass"),
    ]:
        torch.save(wrong, path)
        message = f"expected pretrained to be a state dictionary of torchvision.models.resnet18, found {found}"
        with pytest.raises(ValueError, match=re.escape(message)):
            ResNet18CAM(in_channels=3, pretrained=path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"expected a state dictionary of ResNet-18, found a list in .*other.pth"):
        ResNet18CAM(pretrained=path)


def test_pretrained_weights_need_the_same_network() -> None:
    with pytest.raises(ValueError, match=r"expected width=1.0 for pretrained weights, found width=0.5; change it"):
        ResNet18CAM(pretrained=True, width=0.5)


@pytest.mark.parametrize("width", [0, -1.0])
def test_width_is_checked(width: float) -> None:
    with pytest.raises(ValueError, match=rf"expected a positive width \(factor on the channel counts\), found {width}"):
        ResNet18CAM(width=width)


@pytest.mark.parametrize("shape", [(1, 1, 31, 32), (1, 1, 64, 16), (1, 64, 64)])
def test_images_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) with H and W at least 32, found shape"):
        small_network()(torch.zeros(shape))


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")  # the check of the shape, when tracing
@pytest.mark.parametrize("convert", [torch.jit.script, lambda model: torch.jit.trace(model, torch.rand(1, 1, 96, 64))])
def test_scripted_and_traced_models_give_the_same_logits(convert: Any) -> None:
    model = small_network().eval()
    images = torch.rand(3, 1, 64, 96)
    torch.testing.assert_close(convert(model)(images), model(images))


def test_training_step_of_a_narrow_network_in_channels_last() -> None:
    model = small_network()  # with fewer channels the process crashed here
    images = torch.rand(16, 1, 224, 224).contiguous(memory_format=torch.channels_last)
    before = model.layer2[0].downsample[0].weight.detach().clone()
    assert model.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.binary_cross_entropy_with_logits(model(images), torch.ones(16, 1)).backward()
    optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not torch.equal(model.layer2[0].downsample[0].weight, before)
