from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import GradCAM
from camtools.networks import EfficientNetLite0CAM, PSPNet, ResNet18CAM
from camtools.networks.dilated_depthwise import DilatedDepthwiseConv2d
from camtools.networks.efficientnet_lite_weights import PACKAGE, lite0_state
from tests.reference.efficientnet_lite import features, random_state


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(random_state(), path)
    return path


def concatenated(model: EfficientNetLite0CAM, images: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    handle = model.get_submodule(model.cam_layers[-1]).register_forward_hook(
        lambda m, i, output: outputs.append(output)
    )
    with torch.no_grad():
        model.eval()(images)
    handle.remove()
    return outputs[0]


@pytest.mark.parametrize("size", [(64, 96), (65, 50), (33, 71)])
def test_published_network_is_the_reference(weights: Path, size: tuple[int, int]) -> None:
    model = EfficientNetLite0CAM(output_stride=32, pretrained=weights)
    images = torch.rand(2, 3, *size)
    sixth, eighth, last = features(images, torch.load(weights))
    eighth, last = (F.interpolate(x, size=sixth.shape[2:], mode="bilinear") for x in (eighth, last))
    result = concatenated(model, images)
    torch.testing.assert_close(result, torch.cat([sixth, eighth, last], dim=1), rtol=1e-3, atol=1e-3)
    assert last.std() > 0.1


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_changes_no_feature_at_the_positions_left(
    weights: Path, output_stride: int, size: tuple[int, int]
) -> None:
    images = torch.rand(1, 3, *size)
    result = concatenated(EfficientNetLite0CAM(output_stride=output_stride, pretrained=weights), images)
    assert result.shape[2:] == tuple(-(-side // output_stride) for side in size)
    offset = size[0] % 2  # an odd side keeps its first position, an even one its last
    for expected, stride in zip(features(images, torch.load(weights)), (16, 32, 32), strict=True):
        step = stride // output_stride
        part, result = result.split([expected.shape[1], result.shape[1] - expected.shape[1]], dim=1)
        start = 0 if offset else step - 1
        torch.testing.assert_close(part[:, :, start::step, start::step], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["imagenet", "random"])
def test_gray_images_are_repeated_in_rgb(weights: Path, name: str) -> None:
    if name == "imagenet":
        pytest.importorskip(PACKAGE, reason="needs the extra imagenet")
    source: Any = True if name == "imagenet" else weights
    images = torch.rand(1, 1, 64, 64) * 2 - 1
    model = EfficientNetLite0CAM(in_channels=1, output_stride=16, pretrained=source)
    expected = concatenated(EfficientNetLite0CAM(output_stride=16, pretrained=source), images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(concatenated(model, images), expected, rtol=1e-3, atol=1e-3)


def test_imagenet_weights_of_the_package() -> None:
    pytest.importorskip(PACKAGE, reason="needs the extra imagenet")
    state = lite0_state(True)
    images = torch.rand(1, 3, 96, 96) * 2 - 1
    model = EfficientNetLite0CAM(output_stride=32, pretrained=True).eval()
    with torch.no_grad():
        last = model.head(model.deep(model.shallow(images)))
    torch.testing.assert_close(last, features(images, state)[2], rtol=1e-3, atol=1e-3)


def test_unit_images_are_scaled_by_the_network(weights: Path) -> None:
    images = torch.rand(2, 1, 64, 48)
    plain = EfficientNetLite0CAM(in_channels=1, pretrained=weights).eval()
    unit = EfficientNetLite0CAM(in_channels=1, unit_images=True).eval()
    unit.load_state_dict(plain.state_dict())
    torch.testing.assert_close(unit(images), plain(2 * images - 1))
    segmenters = [PSPNet(network, channels=16).eval() for network in (unit, plain)]
    segmenters[1].load_state_dict(segmenters[0].state_dict())
    torch.testing.assert_close(segmenters[0](images), segmenters[1](2 * images - 1))


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("size", [(8, 12), (9, 7), (3, 2)])
def test_dilated_depthwise_convolution_is_torchs(dilation: int, size: tuple[int, int]) -> None:
    for kernel_size in (3, 5):
        convolution = DilatedDepthwiseConv2d(16, kernel_size, dilation)
        plain = nn.Conv2d(
            16, 16, kernel_size, padding=dilation * (kernel_size // 2), dilation=dilation, groups=16, bias=False
        )
        plain.load_state_dict(convolution.state_dict())
        images = torch.rand(2, 16, *size).contiguous(memory_format=torch.channels_last)
        results, gradients = [], []
        for layer in (convolution, plain):
            own = images.clone().requires_grad_()
            result = layer(own)
            (result**2).sum().backward()
            results.append(result)
            gradients.append([own.grad, layer.weight.grad])
        torch.testing.assert_close(*results)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_cam_layers_are_stages_and_the_concatenated_map() -> None:
    model = EfficientNetLite0CAM(in_channels=2, num_classes=3).eval()
    shapes = []
    for name in model.cam_layers:
        model.get_submodule(name).register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape[1:])))
    images = torch.rand(2, 2, 64, 48)
    assert model(images).shape == (2, 3)
    assert shapes == [(24, 16, 12), (40, 8, 6), (112, 8, 6), (320, 8, 6), (1712, 8, 6)]
    assert GradCAM(model, model.cam_layers)(images, target=1).shape == (2, 5, 64, 48)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_logits_are_averaged_class_maps(weights: Path, output_stride: int) -> None:
    model = EfficientNetLite0CAM(output_stride=output_stride, pretrained=weights).eval()
    images = torch.rand(2, 3, 64, 96)
    maps = model.class_maps(images)
    assert maps.shape == ((2, 2, 8, 12) if output_stride == 8 else (2, 2, 4, 6))
    torch.testing.assert_close(model(images), maps.mean(dim=(2, 3)))
    weight = model.classifier.weight[:, :, 0, 0]
    expected = torch.einsum("kc,bchw->bkhw", weight, concatenated(model, images))
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-3)
    embedding = model.embed(images)
    assert embedding.shape == (2, model.embedding_size) == (2, 1712)
    torch.testing.assert_close(embedding @ weight.T, model(images), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model(images[1:]), model(images)[1:], rtol=1e-4, atol=1e-5)


def test_constants_and_size_of_the_published_network() -> None:
    norms = [layer for layer in EfficientNetLite0CAM().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 49
    assert {(layer.eps, layer.momentum) for layer in norms} == {(0.001, 0.01)}
    assert sum(p.numel() for p in EfficientNetLite0CAM().parameters()) == 4_652_008 - 1281 * 1000 + 2 * 1712


def test_training_step_in_channels_last() -> None:
    model = EfficientNetLite0CAM()
    assert model.deep.stage7[1].layers.expand[0].weight.is_contiguous(memory_format=torch.channels_last)
    images = torch.rand(4, 3, 56, 56).contiguous(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(images), torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert not [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]


def test_frozen_normalization_does_not_train(weights: Path) -> None:
    model = EfficientNetLite0CAM(norm="frozen", pretrained=weights).train()
    state = model.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(model(torch.rand(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    optimizer.step()
    convolutions = {f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    assert {name for name in state if not torch.equal(state[name], before[name])} == convolutions


def test_group_normalization_sees_one_image_at_a_time() -> None:
    model = EfficientNetLite0CAM(norm="group", dropout=0).train()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-5)


def test_pspnet_on_its_layers_trains_and_is_scripted() -> None:
    classifier = EfficientNetLite0CAM()
    segmenter = PSPNet(classifier, channels=16)
    images = torch.rand(2, 3, 40, 48)
    assert segmenter(images).shape == (2, 2, 2, 40, 48)
    segmenter(images).sum().backward()
    assert classifier.deep.stage8[0].layers.project[0].weight.grad is not None
    assert classifier.head[0].weight.grad is None
    scripted = torch.jit.script(segmenter.eval())
    torch.testing.assert_close(scripted(images), segmenter(images))


def test_scripted_model_gives_the_same_logits(weights: Path) -> None:
    model = EfficientNetLite0CAM(output_stride=16, pretrained=weights).eval()  # strided and dilated stages
    scripted = torch.jit.script(model)
    for size in [(64, 48), (45, 51)]:
        images = torch.rand(2, 3, *size)
        torch.testing.assert_close(scripted(images), model(images), rtol=1e-4, atol=1e-5)


def test_state_of_another_classifier_gives_all_but_the_class_layer(tmp_path: Path) -> None:
    other = EfficientNetLite0CAM(num_classes=5).state_dict()
    torch.save(other, tmp_path / "other.pt")
    model = EfficientNetLite0CAM(num_classes=2, pretrained=tmp_path / "other.pt").state_dict()
    assert {key for key in other if not torch.equal(model[key], other[key])} == {"classifier.weight"}


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    message = f"expected the package {PACKAGE} to be installed (pretrained=True), found none; "
    message += 'install it with pip install "camtools[imagenet]", or pass'
    with pytest.raises(ImportError, match=re.escape(message)):
        EfficientNetLite0CAM(pretrained=True)


def test_pretrained_file_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = random_state()
    for wrong, found in [
        (ResNet18CAM(width=0.125).state_dict(), "shallow.stem.0.weight missing; pass its file"),
        (state | {"_conv_head.weight": torch.zeros(1, 2)}, "head.0.weight of shape (1, 2); pass"),
        ({key: state[key] for key in state if key != "_blocks.1._bn0.bias"}, "stage3.0.layers.expand.1.bias missi"),
        (
            state | {"_blocks.16._bn1.bias": torch.zeros(1)},
            "_blocks.16._bn1.bias that is not part of it; pass its file",
        ),
    ]:
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=r"state dictionary of EfficientNet-Lite0 in .*" + re.escape(found)):
            EfficientNetLite0CAM(pretrained=path)
    torch.save([1, 2], path)
    with pytest.raises(
        ValueError, match=r"expected a state dictionary of EfficientNet-Lite0, found a list in .*other.pth"
    ):
        EfficientNetLite0CAM(pretrained=path)


def test_pretrained_weights_need_the_same_network() -> None:
    with pytest.raises(
        ValueError, match=r"expected norm='batch' or 'frozen' for pretrained .* found norm='group'; chan"
    ):
        EfficientNetLite0CAM(pretrained=True, norm="group")


def test_options_and_images_are_checked() -> None:
    with pytest.raises(ValueError, match="expected output_stride 8, 16 or 32, found 4"):
        EfficientNetLite0CAM(output_stride=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected norm to be one of batch, frozen, group, found 'layer'"):
        EfficientNetLite0CAM(norm="layer")  # type: ignore[arg-type]
    for output_stride, shape in [(8, (1, 3, 7, 32)), (32, (1, 3, 64, 16)), (8, (3, 64, 64))]:
        with pytest.raises(ValueError, match=rf"\(B, C, H, W\) with H and W at least {output_stride}, found shape"):
            EfficientNetLite0CAM(output_stride=output_stride)(torch.zeros(shape))
