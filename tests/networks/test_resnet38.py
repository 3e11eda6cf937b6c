from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtools.cams import CAM, AblationCAM, FullGrad, GradCAM, ScoreCAM
from camtools.networks import ResNet38, resnet38
from camtools.networks.norms import NormName
from tests.cam_networks import classifier, vary_norms

# by name: channels before, between and after the two 3x3 convolutions, and whether the shortcut is a convolution
BASIC = {
    "b2": (64, 128, 128, True),
    "b2_1": (128, 128, 128, False),
    "b2_2": (128, 128, 128, False),
    "b3": (128, 256, 256, True),
    "b3_1": (256, 256, 256, False),
    "b3_2": (256, 256, 256, False),
    "b4": (256, 512, 512, True),
    "b4_1": (512, 512, 512, False),
    "b4_2": (512, 512, 512, False),
    "b4_3": (512, 512, 512, False),
    "b4_4": (512, 512, 512, False),
    "b4_5": (512, 512, 512, False),
    "b5": (512, 512, 1024, True),
    "b5_1": (1024, 512, 1024, False),
    "b5_2": (1024, 512, 1024, False),
}
BOTTLENECK = {"b6": (1024, 512, 1024, 2048), "b7": (2048, 1024, 2048, 4096)}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small_network(**options: Any) -> ResNet38:
    return ResNet38(width=0.03125, **options)


def trained_network(**options: Any) -> ResNet38:
    model = small_network(**options)
    vary_norms(model)
    return model.eval()


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the public weights, res38d."""
    norms: dict[str, int] = {"bn7": 4096}
    shapes: dict[str, tuple[int, ...]] = {"conv1a.weight": (64, 3, 3, 3)}
    for name, (before, between, after, projected) in BASIC.items():
        norms |= {f"{name}.bn_branch2a": before, f"{name}.bn_branch2b1": between}
        shapes[f"{name}.conv_branch2a.weight"] = (between, before, 3, 3)
        shapes[f"{name}.conv_branch2b1.weight"] = (after, between, 3, 3)
        if projected:
            shapes[f"{name}.conv_branch1.weight"] = (after, before, 1, 1)
    for name, (before, first, second, after) in BOTTLENECK.items():
        norms |= {f"{name}.bn_branch2a": before, f"{name}.bn_branch2b1": first, f"{name}.bn_branch2b2": second}
        shapes[f"{name}.conv_branch2a.weight"] = (first, before, 1, 1)
        shapes[f"{name}.conv_branch2b1.weight"] = (second, first, 3, 3)
        shapes[f"{name}.conv_branch2b2.weight"] = (after, second, 1, 1)
        shapes[f"{name}.conv_branch1.weight"] = (after, before, 1, 1)
    for name, channels in norms.items():
        for values in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{values}"] = (channels,)
    return shapes


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_names_and_shapes_are_those_of_the_public_weights(norm: NormName) -> None:
    with torch.device("meta"):
        model = ResNet38(num_classes=20, norm=norm)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")} == (
        published_shapes() | {"fc8.weight": (20, 5632, 1, 1)}
    )
    assert model.embedding_size == 512 + 1024 + 4096


def test_strides_and_dilations() -> None:
    model = small_network()
    convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    strided = {name for name, layer in convolutions.items() if layer.stride == (2, 2)}
    assert strided == {f"b{stage}.{conv}" for stage in (2, 3, 4) for conv in ("conv_branch1", "conv_branch2a")}
    twice = {"b5.conv_branch2b1"} | {f"b5_{n}.conv_branch2{c}" for n in (1, 2) for c in ("a", "b1")}
    four_times = {"b6.conv_branch2b1", "b7.conv_branch2b1"}
    assert {name for name, layer in convolutions.items() if layer.dilation == (2, 2)} == twice
    assert {name for name, layer in convolutions.items() if layer.dilation == (4, 4)} == four_times
    dropouts = {name: layer.p for name, layer in model.named_modules() if isinstance(layer, nn.Dropout2d)}
    inside = {"b6.dropout_2b1": 0.3, "b6.dropout_2b2": 0.3, "b7.dropout_2b1": 0.5, "b7.dropout_2b2": 0.5}
    assert dropouts == inside | {"dropout7": 0.5}
    assert small_network(dropout=0.2).dropout7.p == 0.2


def test_stages() -> None:
    model = small_network(in_channels=2, num_classes=3).eval()
    shapes = []
    for name in model.cam_layers:
        model.get_submodule(name).register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape[1:])))
    assert model(torch.rand(1, 2, 65, 96)).shape == (1, 3)
    # widths 1/32 of 128, 256, 512, 1024 and 512 + 1024 + 4096, but at least 16
    assert shapes == [(16, 33, 48), (16, 17, 24), (16, 9, 12), (32, 9, 12), (16 + 32 + 128, 9, 12)]


def test_class_maps_weight_the_features_of_the_last_three_stages() -> None:
    model = trained_network()
    inputs: dict[str, Tensor] = {}
    for name in ("b5", "b6", "bn7"):
        hook = lambda m, i, name=name: inputs.update({name: i[0].clone()})  # noqa: E731
        model.get_submodule(name).register_forward_pre_hook(hook)
    images = torch.rand(2, 3, 40, 32)
    with torch.no_grad():
        maps = model.class_maps(images)
        norms = {"b5": model.b5.bn_branch2a, "b6": model.b6.bn_branch2a, "bn7": model.bn7}
        features = torch.cat([norm(inputs[name]).relu() for name, norm in norms.items()], dim=1)
        expected = torch.einsum("kc,bchw->bkhw", model.fc8.weight[:, :, 0, 0], features)  # OEEM, eq. 1
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(images), expected.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.embed(images), features.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    assert (maps < 0).any()
    assert (maps > 0).any()


@pytest.mark.parametrize("method", [CAM, GradCAM, ScoreCAM, AblationCAM])
def test_activation_maps_of_the_concatenated_features(method: Any) -> None:
    model = trained_network()
    maps = method(model, model.cam_layers[-1:])(torch.rand(2, 3, 24, 16), target=0)
    assert maps.shape == (2, 1, 24, 16)
    assert maps.amax() > 0


def test_activation_maps_of_all_layers() -> None:
    model = trained_network(norm="frozen")
    images = torch.rand(2, 3, 24, 16)
    assert GradCAM(model, [*model.cam_layers, "b5", "b6"])(images, target=1).shape == (2, 7, 24, 16)
    assert FullGrad(model)(images, target=1).amax(dim=(2, 3)).min() > 0


def test_frozen_norms_stay_as_they_are_in_training() -> None:
    model = vary_norms(small_network(norm="frozen")).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    convolutions = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert changed == convolutions
    assert {name for name, value in model.named_parameters() if value.requires_grad} == convolutions


def test_norms_that_are_not_frozen_train() -> None:
    model = small_network().train()
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.bn7.running_mean.abs().max() > 0


def test_frozen_norms_are_the_same_in_training_and_evaluation() -> None:
    model = trained_network(norm="frozen")
    for layer in model.modules():
        if isinstance(layer, nn.Dropout2d):
            layer.p = 0.0
    images = torch.rand(1, 3, 24, 24)
    expected = model(images)
    scripted = torch.jit.script(model)
    torch.testing.assert_close(model.train()(images), expected)
    torch.testing.assert_close(scripted.train()(images), expected)
    other = small_network()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(images), expected)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public weights have 124 million values; these tests need fewer, with width=1.0."""
    widths = {count: max(16, count // 32) for count in resnet38.WIDTHS}
    monkeypatch.setattr(resnet38, "scaled_widths", lambda channels, width: [widths[count] for count in channels])


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.usefixtures("narrow")
def test_pretrained_path_gives_the_features(tmp_path: Path, in_channels: int, prefix: str) -> None:
    source = trained_network(num_classes=20)
    heads = {
        "fc8.weight": torch.rand(20, 128, 1, 1),
        "fc1.bias": torch.rand(2),
        "linear1000.weight": torch.rand(9, 128),
    }
    state = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save({prefix + key: value for key, value in (state | heads).items()}, tmp_path / "res38d.pth")
    model = ResNet38(in_channels=in_channels, pretrained=tmp_path / "res38d.pth").eval()
    images = torch.rand(2, in_channels, 32, 32)
    with torch.no_grad():
        expected = source.embed(images.expand(-1, 3, -1, -1))  # gray images are repeated in R, G and B
        torch.testing.assert_close(model.embed(images), expected, rtol=1e-4, atol=1e-5)
    assert model.fc8.weight.shape[0] == 2
    assert model.conv1a.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("narrow")
def test_pretrained_file_of_another_network(tmp_path: Path) -> None:
    state = small_network().state_dict()
    path = tmp_path / "other.pth"
    for wrong, found in [
        ({"layer.weight": torch.zeros(1)}, "conv1a.weight missing; pass its file"),
        (
            state | {"b4_3.conv_branch2a.weight": torch.zeros(1, 2)},
            "b4_3.conv_branch2a.weight of shape (1, 2); pass",
        ),
        ({key: state[key] for key in state if key != "bn7.running_var"}, "bn7.running_var missing; pass its file"),
        (state | {"b8.bn_branch2a.bias": torch.zeros(1)}, "b8.bn_branch2a.bias that is not part of it; pass its file"),
    ]:
        torch.save(wrong, path)
        with pytest.raises(
            ValueError, match=re.escape(f"expected pretrained to be a state dictionary of res38d, found {found}")
        ):
            ResNet38(pretrained=path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"expected a state dictionary of ResNet-38, found a list in .*other.pth"):
        ResNet38(pretrained=path)


def test_no_download() -> None:
    with pytest.raises(
        ValueError, match=r"expected pretrained to be the path of a res38d .* cannot download one; pass its f"
    ):
        small_network(pretrained=True)


def test_pretrained_weights_need_the_same_network() -> None:
    message = r"expected width=1.0 for pretrained weights, found width=0.03125; change it"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet38(pretrained="res38d.pth", width=0.03125)


@pytest.mark.parametrize("width", [0, -1.0])
def test_width_is_checked(width: float) -> None:
    with pytest.raises(ValueError, match=rf"expected a positive width \(factor on the channel counts\), found {width}"):
        ResNet38(width=width)


def test_width_keeps_at_least_sixteen_channels() -> None:
    model = ResNet38(width=0.001)
    counts = {
        layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer is not model.fc8
    }
    assert counts == {16}
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 2)


@pytest.mark.parametrize("shape", [(1, 3, 7, 32), (1, 3, 32, 4), (3, 32, 32)])
def test_images_are_checked(shape: tuple[int, ...]) -> None:
    for method in ("forward", "embed"):
        with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) with H and W at least 8, found shape"):
            getattr(small_network(), method)(torch.zeros(shape))


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")  # the check of the shape, when tracing
@pytest.mark.parametrize("convert", [torch.jit.script, lambda model: torch.jit.trace(model, torch.rand(1, 3, 24, 16))])
def test_scripted_and_traced_models_give_the_same_logits(convert: Any) -> None:
    model = classifier("resnet38")
    images = torch.rand(3, 3, 24, 16)
    torch.testing.assert_close(convert(model)(images), model(images))


def test_initial_logits_are_small() -> None:
    logits = ResNet38(width=0.0625).train()(torch.rand(8, 3, 32, 32))
    assert 0.01 < logits.square().mean().sqrt() < 3


def test_trains_from_scratch() -> None:
    model = small_network(in_channels=1, dropout=0.2)
    labels = torch.arange(8) % 2
    images = 0.3 * torch.rand(8, 1, 16, 16)
    images[labels == 1, :, 4:12, 6:14] += 0.5  # the object: a bright square
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    for layer in model.modules():  # running statistics lag behind weights that change this fast
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(4):
            model(images)
    assert (model.eval()(images).argmax(dim=1) == labels).float().mean() > 0.9
