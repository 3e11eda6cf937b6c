from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camtools.losses import AuxiliaryLoss, OEEMLoss
from camtools.networks import VGG16CAM, PSPNet, ResNet38
from camtools.networks.psp_net import PyramidPooling
from tests.cam_networks import CLASSIFIERS, classifier, vary_norms
from tests.reference.networks import pyramid_pooling

STAGES = {  # layers of the classifier whose outputs the heads read
    "resnet38": ("b5_2", "relu"),
    "resnet38_frozen": ("b5_2", "relu"),
    "resnet38_group": ("b5_2", "relu"),
    "resnet18": ("layer3", "layer4"),
    "vgg16": ("features.22", "features"),
    "vgg16_not_dilated": ("features.32", "features"),
}
SINGLE = r"at least 2 images per batch \(and GPU\) to train PSPNet with a bin of 1, found 1: .*drop_last=True"


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def segmenter(name: str, **options: Any) -> PSPNet:
    model = PSPNet(classifier(name), num_classes=3, channels=16, **options)
    for part in (model.pyramid, model.head, model.auxiliary):
        vary_norms(part or nn.Identity())
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
    return model


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 40)


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (3, 4)])  # bins of 6 in 3 x 4 features: cells overlap
def test_pyramid_pooling_matches_reference(size: tuple[int, int]) -> None:
    pooling = vary_norms(PyramidPooling(4, bins=(1, 2, 3, 6))).double().eval()
    features = torch.randn(2, 4, *size, dtype=torch.float64)
    levels = [(bins, dict(level.state_dict())) for bins, level in zip((1, 2, 3, 6), pooling.levels, strict=True)]
    with torch.no_grad():
        result = pooling(features)
    assert pooling.outputs == 4 + 4 * 16
    torch.testing.assert_close(result, torch.stack([pyramid_pooling(image, levels) for image in features]))


@pytest.mark.parametrize(("bins", "level"), [((1, 2, 3, 6), 32), ((1, 2), 64), ((4,), 128)])
def test_every_level_has_its_share_of_the_channels(bins: tuple[int, ...], level: int) -> None:
    pooling = PyramidPooling(128, bins)
    assert [layer.out_channels for layer in pooling.modules() if isinstance(layer, nn.Conv2d)] == [level] * len(bins)
    assert pooling.outputs == 256


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_are_those_of_head_and_auxiliary_head(name: str) -> None:
    backbone = classifier(name)  # of the same weights as the segmenter's
    model = segmenter(name).eval()
    kept: dict[str, Tensor] = {}
    shallow, deep = STAGES[name]
    for stage in (shallow, deep):
        hook = lambda m, i, output, stage=stage: kept.update({stage: output.clone()})  # noqa: E731
        backbone.get_submodule(stage).register_forward_hook(hook)
    batch = images()
    with torch.no_grad():
        backbone(batch)
        main = model.head(model.pyramid(kept[deep]))
        auxiliary = model.auxiliary(kept[shallow])
        expected = [F.interpolate(logits, size=(64, 40), mode="bilinear") for logits in (main, auxiliary)]
        torch.testing.assert_close(model(batch), expected[0], rtol=1e-4, atol=1e-4)
        model.training = True  # the segmenter alone: both heads, and the norms as before
        torch.testing.assert_close(model(batch), torch.stack(expected, dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_parameter_takes_part(name: str, auxiliary: bool) -> None:
    model = PSPNet(classifier(name), num_classes=3, channels=16, auxiliary=auxiliary).train()
    logits = model(images())
    assert logits.shape == ((2, 2, 3, 64, 40) if auxiliary else (2, 3, 64, 40))
    logits.square().sum().backward()
    trained = {n for n, value in model.named_parameters() if value.requires_grad}
    assert {n for n, value in model.named_parameters() if value.grad is not None} == trained
    assert not [n for n in model.state_dict() if "fc" in n or "classifier" in n]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(("name", "auxiliary"), [(name, index % 2 == 0) for index, name in enumerate(CLASSIFIERS)])
def test_scripted_segmenter_gives_the_same_logits(name: str, auxiliary: bool) -> None:
    model = segmenter(name, auxiliary=auxiliary)
    scripted = torch.jit.script(model)
    for training in (True, False):
        batch = images()
        with torch.jit.optimized_execution(False):  # optimising the graph takes longer than running it
            logits = scripted.train(training)(batch)
        torch.testing.assert_close(logits, model.train(training)(batch), rtol=1e-4, atol=1e-4)
    with pytest.raises(torch.jit.Error, match="at least 2 images per batch"):
        scripted.train()(images(1))


def test_group_norm_trains_on_a_single_image() -> None:
    model = PSPNet(classifier("resnet38_group"), channels=16, norm="group").train()
    assert not [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    AuxiliaryLoss(OEEMLoss())(model(images(1)), torch.randint(2, (1, 1, 64, 40))).backward()
    with pytest.raises(ValueError, match="expected norm to be one of batch, frozen, group, found 'layer'"):
        PSPNet(classifier("resnet38"), norm="layer")


def test_frozen_norms_of_the_backbone_stay_frozen() -> None:
    model = PSPNet(classifier("resnet38_frozen"), channels=16).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    AuxiliaryLoss(OEEMLoss())(model(images()), torch.randint(2, (2, 1, 64, 40))).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    backbone = {name for name in changed if name.startswith(("shallow", "deep"))}
    assert backbone == {name for name in before if name.startswith(("shallow", "deep")) and "conv" in name}
    assert {"head.1.running_mean", "auxiliary.1.weight", "pyramid.levels.0.2.running_var"} <= changed


def test_layers_are_shared_with_the_classifier() -> None:
    backbone = ResNet38(width=0.03125)
    model = PSPNet(backbone, channels=16)
    assert model.shallow.b5_2 is backbone.b5_2
    assert model.deep.b7.conv_branch2b2.weight is backbone.b7.conv_branch2b2.weight


def test_channels_of_the_paper() -> None:
    with torch.device("meta"):
        model = PSPNet(ResNet38())
    assert [level[1].out_channels for level in model.pyramid.levels] == [1024] * 4
    assert [tuple(layer.weight.shape) for layer in model.head if isinstance(layer, nn.Conv2d)] == [
        (512, 8192, 3, 3),
        (2, 512, 1, 1),
    ]
    assert [tuple(layer.weight.shape) for layer in model.auxiliary if isinstance(layer, nn.Conv2d)] == [
        (256, 1024, 3, 3),
        (2, 256, 1, 1),
    ]
    assert [layer.p for layer in (*model.head, *model.auxiliary) if isinstance(layer, nn.Dropout2d)] == [0.1, 0.1]


def test_at_least_sixteen_channels() -> None:
    model = PSPNet(VGG16CAM(width=0.01), channels=2)
    own = nn.ModuleList([model.pyramid, model.head, model.auxiliary])
    counts = {layer.out_channels for layer in own.modules() if isinstance(layer, nn.Conv2d) and layer.bias is None}
    assert counts == {16}


def test_one_image_cannot_train_a_bin_of_one() -> None:
    model = segmenter("resnet38").train()
    with pytest.raises(ValueError, match=SINGLE):
        model(images(1))
    assert model.eval()(images(1)).shape == (1, 3, 64, 40)
    assert segmenter("resnet38", bins=(2, 3)).train()(images(1)).shape == (1, 2, 3, 64, 40)


@pytest.mark.parametrize(("name", "smallest"), [("resnet38", 8), ("resnet18", 32), ("vgg16_not_dilated", 16)])
def test_images_are_checked(name: str, smallest: int) -> None:
    model = segmenter(name).eval()
    assert model(torch.rand(1, 3, smallest, smallest)).shape == (1, 3, smallest, smallest)
    with pytest.raises(
        ValueError, match=rf"expected images \(B, C, H, W\) with H and W at least {smallest}, found shape"
    ):
        model(torch.rand(1, 3, smallest - 1, smallest))


@pytest.mark.parametrize("bins", [(), (1, 0), [-2]])
def test_bins_are_checked(bins: Any) -> None:
    with pytest.raises(ValueError, match="expected at least one bin, a positive number of cells per side, found"):
        PSPNet(ResNet38(width=0.03125), bins=bins)


def test_backbone_is_checked() -> None:
    with pytest.raises(
        ValueError, match=r"a backbone of PSPNet with feature_stages\(\) and smallest, such as .* found Linear"
    ):
        PSPNet(nn.Linear(2, 2))


def test_learns_to_segment() -> None:
    model = PSPNet(ResNet38(width=0.03125, in_channels=1), channels=16)
    labels = torch.zeros(4, 1, 32, 32, dtype=torch.long)
    labels[:, :, 8:24, 8:16] = 1
    batch = 0.3 * torch.rand(4, 1, 32, 32) + 0.5 * labels
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=3e-3), AuxiliaryLoss(OEEMLoss())
    first = last = None
    for _ in range(20):
        optimizer.zero_grad()
        last = loss(model(batch), labels)
        last.backward()
        optimizer.step()
        first = last.item() if first is None else first
    assert last.item() < 0.5 * first
