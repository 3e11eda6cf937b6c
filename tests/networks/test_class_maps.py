"""What all classifiers of the package can do: scores of every position."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.cams import CAM, GradCAM
from camtools.networks import VGG16CAM, EfficientNetLite0CAM, ResNet18CAM, ResNet38
from tests.cam_networks import CLASSIFIERS, classifier, vary_norms

STRIDES = {"resnet18": 32, "vgg16_not_dilated": 16}
Build = Callable[..., nn.Module]
# what builds the network, its output strides, and the name of its deepest features
STRIDED: dict[str, tuple[Build, tuple[int, ...], str]] = {
    "resnet18": (partial(ResNet18CAM, width=0.125), (8, 16, 32), "layer4"),
    "resnet38": (partial(ResNet38, in_channels=1, width=0.03125), (8, 16, 32), "relu"),
    "efficientnet_lite0": (partial(EfficientNetLite0CAM, in_channels=1), (8, 16, 32), "deep"),
    "vgg16": (partial(VGG16CAM, width=0.0625), (8, 16), "features"),
    "vgg16_batch": (partial(VGG16CAM, width=0.0625, norm="batch"), (8, 16), "features"),
    "vgg16_not_dilated": (partial(VGG16CAM, width=0.0625, dilated=False), (8, 16), "features"),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_are_the_average_of_the_class_maps(name: str) -> None:
    model = classifier(name)
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        maps, logits = model.class_maps(images), model(images)
        single = torch.cat([model.class_maps(image[None]) for image in images])
    stride = STRIDES.get(name, 8)
    assert maps.shape == (2, 3, 96 // stride, 64 // stride)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, maps, rtol=1e-4, atol=1e-5)
    assert maps.std(dim=(2, 3)).min() > 1e-4


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_class_maps_are_the_activation_maps_before_the_relu(name: str) -> None:
    model = classifier(name)
    images = torch.rand(2, 3, 96, 64)
    head = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)][-1]
    for target in range(3):
        with torch.no_grad():
            scores = model.class_maps(images)[:, target : target + 1]
        bias = 0.0 if head.bias is None else head.bias[target].detach()
        expected = F.interpolate((scores - bias).relu(), size=(96, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(CAM(model, model.cam_layers[-1:])(images, target), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_class_maps_check_their_images(name: str) -> None:
    model = classifier(name)
    smallest = {"resnet18": 32, "vgg16_not_dilated": 16}.get(name, 8)
    assert model.smallest == smallest
    assert model.class_maps(torch.rand(1, 3, smallest, smallest)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match=rf"expected images \(B, C, H, W\) with H and W at least {smallest}, found"):
        model.class_maps(torch.rand(1, 3, smallest, smallest - 1))


@pytest.mark.parametrize("dilated", [True, False])
def test_a_fully_connected_head_has_no_class_maps(dilated: bool) -> None:
    model = VGG16CAM(width=0.0625, dilated=dilated, head="fully_connected")
    with pytest.raises(
        ValueError, match=r"expected head='average' for class_maps, found .* use camtools.cams.GradCAM, or train"
    ):
        model.class_maps(torch.rand(1, 1, 32, 32))


def deepest_features(model: nn.Module, name: str, images: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda m, i, output: outputs.append(output))
    with torch.no_grad():
        model.eval()(images)
    handle.remove()
    return outputs[0]


@pytest.mark.parametrize("name", STRIDED)
def test_weights_do_not_depend_on_the_output_stride(name: str) -> None:
    build, strides, _ = STRIDED[name]
    states = [build(output_stride=stride).state_dict() for stride in strides]
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    assert len(shapes[0]) > 20
    assert all(list(other.items()) == list(shapes[0].items()) for other in shapes[1:])


@pytest.mark.parametrize("name", STRIDED)
def test_maps_at_a_finer_stride_hold_the_features_of_the_training(name: str) -> None:
    build, strides, layer = STRIDED[name]
    torch.manual_seed(0)
    trained = vary_norms(build(output_stride=strides[-1]))
    images = torch.rand(2, 1, 64, 96)
    expected = deepest_features(trained, layer, images)
    assert expected.shape[2:] == (64 // strides[-1], 96 // strides[-1])
    assert expected.std() > 1e-3
    # TensorFlow's padding keeps the last of an even number of positions, all others the first
    for stride in strides[:-1]:
        finer = build(output_stride=stride)
        finer.load_state_dict(trained.state_dict())
        step = strides[-1] // stride
        start = step - 1 if name == "efficientnet_lite0" else 0
        found = deepest_features(finer, layer, images)[:, :, start::step, start::step]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", STRIDED)
def test_networks_of_every_stride_train_and_make_maps(name: str) -> None:
    build, strides, _ = STRIDED[name]
    for stride in strides:
        model = build(output_stride=stride)
        assert model.smallest == stride
        images = torch.rand(2, 1, 64, 64)
        model(images).sum().backward()
        assert all(weight.grad is not None for weight in model.parameters())
        model.eval()
        torch.testing.assert_close(model.class_maps(images).mean(dim=(2, 3)), model(images), rtol=1e-3, atol=1e-4)
        assert GradCAM(model, model.cam_layers)(images, target=0).shape == (2, len(model.cam_layers), 64, 64)
        scripted = torch.jit.script(model)
        torch.testing.assert_close(scripted(images), model(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", STRIDED)
def test_unknown_output_stride(name: str) -> None:
    build, strides, _ = STRIDED[name]
    known = " or ".join(", ".join(map(str, strides)).rsplit(", ", 1))
    with pytest.raises(ValueError, match=f"expected output_stride {known}, found 4"):
        build(output_stride=4)


@pytest.mark.parametrize(("dilated", "stride"), [(True, 16), (False, 8)])
def test_a_fully_connected_head_has_one_output_stride(dilated: bool, stride: int) -> None:
    message = (
        rf"for head='fully_connected' and dilated={dilated}, found {stride}; set it to null, or use head='average'"
    )
    with pytest.raises(ValueError, match=message):
        VGG16CAM(width=0.0625, dilated=dilated, head="fully_connected", output_stride=stride)
