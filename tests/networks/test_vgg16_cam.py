from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

from camtools.cams import CAM
from camtools.networks import VGG16CAM
from tests.narrow_vgg16 import HIDDEN, narrow_vgg16


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_structure_is_vgg16_with_output_stride_8():
    model = VGG16CAM()
    convolutions = [module for module in model.features if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 256] + 6 * [512]
    assert [c.dilation for c in convolutions] == 10 * [(1, 1)] + 3 * [(2, 2)]
    pools = [module for module in model.features if isinstance(module, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride) for p in pools] == [(2, 2), (2, 2), (2, 2), (3, 1)]
    drops = [index for index, module in enumerate(model.features) if isinstance(module, nn.Dropout)]
    relus = [index for index, module in enumerate(model.features) if isinstance(module, nn.ReLU)]
    assert [index - 1 for index in drops] == relus[-3:]
    assert all(model.features[index].p == 0.5 for index in drops)
    assert model.classifier.kernel_size == (1, 1)


@pytest.mark.parametrize("norm", [None, "batch", "instance"])
def test_cam_layers_are_the_last_activations_of_the_blocks(norm):
    model = VGG16CAM(in_channels=2, num_classes=3, width=0.125, norm=norm).eval()
    shapes = {}
    for name in model.cam_layers:
        module = model.get_submodule(name)
        assert isinstance(module, nn.ReLU)
        following = model.features[int(name.split(".")[1]) + 1]
        assert isinstance(following, nn.MaxPool2d | nn.Dropout)
        module.register_forward_hook(lambda m, i, output, name=name: shapes.update({name: tuple(output.shape)}))
    assert model(torch.rand(2, 2, 64, 48)).shape == (2, 3)
    assert list(shapes) == model.cam_layers
    assert list(shapes.values()) == [
        (2, 8, 64, 48),
        (2, 16, 32, 24),
        (2, 32, 16, 12),
        (2, 64, 8, 6),
        (2, 64, 8, 6),
    ]


def test_logits_are_the_average_of_the_class_maps():
    model = VGG16CAM(width=0.0625).eval()
    images = torch.rand(2, 1, 32, 40)
    scores = model.classifier(model.features(images))
    torch.testing.assert_close(model(images), scores.mean(dim=(2, 3)))
    assert CAM(model, model.cam_layers[-1:])(images, target=0).shape == (2, 1, 32, 40)


@pytest.fixture
def torchvision_vgg16(monkeypatch: pytest.MonkeyPatch) -> VGG:
    monkeypatch.setattr("camtools.networks.vgg16_cam.HIDDEN", HIDDEN)
    return narrow_vgg16()


def stage_outputs(model: nn.Module, names: list[str], images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    outputs = []
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, i, output: outputs.append(output.clone()))
    with torch.no_grad():
        return model(images), outputs


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        model = VGG16CAM(in_channels=3, num_classes=1000, dilated=False, head="fully_connected")
        published = VGG(make_layers(cfgs["D"]), init_weights=False)
    shapes = [(name, value.shape) for name, value in model.state_dict().items()]
    assert shapes == [(name, value.shape) for name, value in published.state_dict().items()]


def test_not_dilated_and_fully_connected_is_torchvisions_vgg16(torchvision_vgg16):
    with torch.device("meta"):
        model = VGG16CAM(in_channels=3, num_classes=1000, dilated=False, head="fully_connected").eval()
    model.load_state_dict(torchvision_vgg16.state_dict(), assign=True)
    images = torch.rand(1, 3, 96, 64)
    assert model.cam_layers == ["features.3", "features.8", "features.15", "features.22", "features.29"]
    logits, stages = stage_outputs(model, model.cam_layers, images)
    expected, expected_stages = stage_outputs(torchvision_vgg16, model.cam_layers, images)
    assert [tuple(stage.shape[2:]) for stage in stages] == [(96, 64), (48, 32), (24, 16), (12, 8), (6, 4)]
    torch.testing.assert_close(stages, expected_stages)
    torch.testing.assert_close(logits, expected)
    assert expected.std() > 1e-4


@pytest.mark.parametrize("norm", [None, "batch"])
def test_not_dilated_with_an_average_head(norm):
    model = VGG16CAM(width=0.0625, dilated=False, norm=norm).eval()
    convolutions = [module for module in model.features if isinstance(module, nn.Conv2d)]
    assert {c.dilation for c in convolutions} == {(1, 1)}
    pools = [module for module in model.features if isinstance(module, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride) for p in pools] == 4 * [(2, 2)]
    drops = [index for index, module in enumerate(model.features) if isinstance(module, nn.Dropout)]
    assert drops == [int(model.cam_layers[-1].split(".")[1]) + 1] == [len(model.features) - 1]
    images = torch.rand(2, 1, 48, 32)
    _, stages = stage_outputs(model, model.cam_layers, images)
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (4, 48, 32),
        (8, 24, 16),
        (16, 12, 8),
        (32, 6, 4),
        (32, 3, 2),
    ]
    torch.testing.assert_close(model(images), model.classifier(stages[-1]).mean(dim=(2, 3)))


def test_fully_connected_head_of_a_narrow_dilated_network():
    model = VGG16CAM(width=0.03125, num_classes=5, head="fully_connected").eval()
    assert [tuple(layer.weight.shape) for layer in model.classifier if isinstance(layer, nn.Linear)] == [
        (128, 16 * 49),
        (128, 128),
        (5, 128),
    ]
    assert [layer.p for layer in model.classifier if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    images = torch.rand(2, 1, 56, 56)  # 7 x 7 at output stride 8: the pooling changes nothing
    torch.testing.assert_close(model(images), model.classifier(model.features(images).flatten(1)))


def test_width_keeps_at_least_four_channels():
    model = VGG16CAM(width=0.01)
    assert {c.out_channels for c in model.features if isinstance(c, nn.Conv2d)} == {4, 5}
    assert VGG16CAM(width=0.5).classifier.in_channels == 256


@pytest.mark.parametrize("options", [{"width": 0}, {"width": -1.0}])
def test_width_is_checked(options):
    with pytest.raises(ValueError, match=r"expected a positive width \(factor on the channel counts\), found"):
        VGG16CAM(**options)


def test_norm_is_checked():
    with pytest.raises(ValueError, match="expected norm to be one of batch, instance, found 'layer'"):
        VGG16CAM(norm="layer", width=0.1)


def test_head_is_checked():
    with pytest.raises(ValueError, match="expected head 'average' or 'fully_connected', found 'max'"):
        VGG16CAM(head="max", width=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 7, 32), (1, 1, 32, 4), (1, 32, 32)])
def test_images_are_checked(shape):
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) with H and W at least 8, found shape"):
        VGG16CAM(width=0.1)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "smallest"),
    [
        ({}, 8),
        ({"head": "fully_connected"}, 8),
        ({"dilated": False}, 16),
        ({"dilated": False, "head": "fully_connected"}, 32),
    ],
)
def test_smallest_image(options, smallest):
    model = VGG16CAM(width=0.05, **options)
    assert model(torch.rand(2, 1, smallest, smallest)).shape == (2, 2)
    with pytest.raises(ValueError, match=f"H and W at least {smallest}, found shape"):
        model(torch.rand(2, 1, smallest, smallest - 1))


@pytest.mark.parametrize("options", [{}, {"dilated": False, "head": "fully_connected"}])
def test_scripted_model_gives_the_same_logits(options):
    model = VGG16CAM(width=0.05, **options).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(torch.jit.script(model)(images), model(images))


def test_state_dictionary_survives_a_round_trip(tmp_path):
    model, other = VGG16CAM(width=0.1).eval(), VGG16CAM(width=0.1).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    images = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(other(images), model(images), rtol=0, atol=0)


def test_initial_activations_neither_vanish_nor_explode():
    model = VGG16CAM(width=0.25).eval()
    activations = model.features(torch.rand(4, 1, 64, 64))
    assert 0.1 < activations.square().mean().sqrt() < 10


@pytest.mark.parametrize(
    "options",
    [
        {"norm": None},
        {"norm": "batch"},
        {"norm": "instance"},
        {"norm": "batch", "dilated": False},
        {"norm": "batch", "dilated": False, "head": "fully_connected"},
    ],
)
def test_trains_from_scratch(options):
    model = VGG16CAM(width=0.125, dropout=0.2, **options)
    labels = torch.arange(8) % 2
    images = 0.3 * torch.rand(8, 1, 32, 32)
    images[labels == 1, :, 8:16, 12:20] += 0.5  # the object: a bright square
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    assert (model.eval()(images).argmax(dim=1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("head", ["average", "fully_connected"])
def test_logits_are_those_of_the_embedding(head: str) -> None:
    model = VGG16CAM(width=0.0625, dilated=False, head=head, norm="batch").eval()
    images = torch.rand(2, 1, 64, 64)
    embedding = model.embed(images)
    assert embedding.shape == (2, model.embedding_size)
    assert embedding.min() >= 0
    last = model.classifier if head == "average" else model.classifier[-1]
    expected = embedding @ last.weight.flatten(1).T + last.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) with H and W at least"):
        model.embed(images[..., :8])
