"""ResNet38 in use: what it checks, scripted, in training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from camtools.losses import SupConLoss
from camtools.networks import ContrastiveNetwork, ResNet38
from tests.cam_networks import classifier


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small_network(**options: Any) -> ResNet38:
    return ResNet38(width=0.03125, **options)


def test_no_download() -> None:
    with pytest.raises(
        ValueError, match=r"expected pretrained to be the path of a res38d .* cannot download one; pass its f"
    ):
        small_network(pretrained=True)


@pytest.mark.parametrize("change", [{"width": 0.03125}, {"in_channels": 2}])
def test_pretrained_weights_need_the_same_network(change: dict[str, Any]) -> None:
    message = r"expected width=1.0 and in_channels 1 or 3 for pretrained weights, found width="
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet38(pretrained="res38d.pth", **change)


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


def test_contrastive_pretraining_trains_all_but_the_class_layer() -> None:
    model = small_network()
    network = ContrastiveNetwork(model)
    SupConLoss()(network(torch.rand(4, 2, 3, 16, 16)), torch.tensor([0, 1, 1, 0])).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == ["fc8.weight"]


def test_initial_logits_are_small() -> None:
    logits = ResNet38(width=0.0625).train()(torch.rand(8, 3, 32, 32))
    assert 0.01 < logits.square().mean().sqrt() < 3


def test_trains_from_scratch() -> None:
    model = small_network(in_channels=1, dropout=0.2)
    labels = torch.arange(16) % 2
    images = 0.3 * torch.rand(16, 1, 32, 32)
    images[labels == 1, :, 8:16, 12:20] += 0.5  # the object: a bright square
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        for _ in range(60):  # running statistics lag behind weights that change this fast
            model(images)
    assert (model.eval()(images).argmax(dim=1) == labels).float().mean() > 0.9
