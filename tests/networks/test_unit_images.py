from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from camtools.networks import ResNet38, resnet38
from camtools.networks.unit_images import ScaleUnitImages, grey_filters, imagenet_scale
from tests.cam_networks import vary_norms


def test_scaling_is_that_of_torchvision() -> None:
    images = torch.rand(2, 3, 4, 5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (images - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(imagenet_scale(3)(images), expected)
    grey = imagenet_scale(1)(images[:, :1])
    torch.testing.assert_close(grey, (images[:, :1] - mean.mean()) / std.mean())
    assert imagenet_scale(4)(torch.rand(1, 4, 2, 2)).shape == (1, 4, 2, 2)


def test_scaling_has_no_state_and_keeps_the_memory_format() -> None:
    scale = ScaleUnitImages()
    assert scale.state_dict() == {}
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    scaled = scale(images)
    assert torch.equal(scaled, 2 * images - 1)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_filters_answer_as_rgb_filters_to_a_grey_image(channels: int) -> None:
    torch.manual_seed(0)
    rgb = nn.Conv2d(3, 8, kernel_size=3)
    grey = nn.Conv2d(channels, 8, kernel_size=3)
    weight, constant = grey_filters(rgb.weight.detach(), channels)
    grey.load_state_dict({"weight": weight, "bias": rgb.bias.detach() + constant})
    images = torch.rand(2, 1, 6, 7)
    expected = rgb(imagenet_scale(3)(images.expand(-1, 3, -1, -1)))
    found = grey(imagenet_scale(channels)(images.expand(-1, channels, -1, -1)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    plain = nn.functional.conv2d(imagenet_scale(1)(images), rgb.weight.sum(dim=1, keepdim=True), rgb.bias)
    assert (plain - expected).abs().max() > 0.01  # the plain sum forgets that colours differ in mean


@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_resnet38_scales_images_as_its_public_weights_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_channels: int
) -> None:
    # the public weights have 124 million values
    monkeypatch.setattr(resnet38, "scaled_widths", lambda channels, width: [max(16, c // 32) for c in channels])
    source = vary_norms(ResNet38()).eval()
    torch.save(source.state_dict(), tmp_path / "res38d.pth")
    model = ResNet38(in_channels, pretrained=tmp_path / "res38d.pth", unit_images=True).eval()
    assert list(model.state_dict()) == list(source.state_dict())
    images = torch.rand(2, in_channels, 32, 32)
    if in_channels == 4:
        images = images[:, :1].expand(-1, 4, -1, -1)  # equal channels are a grey image
    scaled = imagenet_scale(3)(images[:, :3].expand(-1, 3, -1, -1))
    with torch.no_grad():
        expected = source.b2.activate(source.conv1a(scaled))[..., 1:-1, 1:-1]
        found = model.b2.activate(model.conv1a(model.scale(images)))[..., 1:-1, 1:-1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert next(model.feature_stages()[0].named_children())[0] == "scale"
        if in_channels == 3:
            torch.testing.assert_close(model.embed(images), source.embed(scaled), rtol=1e-4, atol=1e-5)


def test_it_can_be_scripted() -> None:
    scale, images = imagenet_scale(3), torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(torch.jit.script(scale)(images), scale(images))
