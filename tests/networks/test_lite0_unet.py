from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from camtools.networks import EfficientNetLite0CAM, EfficientNetLite0UNet

SMALL = (32, 16, 16, 16, 16)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(64, 64), (50, 71)])
def test_logits_have_the_size_of_the_images(size: tuple[int, int]) -> None:
    network = EfficientNetLite0UNet(3, decoder_channels=SMALL).eval()
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (2, 2, *size)
        torch.testing.assert_close(torch.jit.script(network)(images), logits)
        torch.testing.assert_close(network(images[1:]), logits[1:], rtol=1e-4, atol=1e-5)


def test_padding_continues_the_border() -> None:
    network = EfficientNetLite0UNet(1, decoder_channels=SMALL).eval()
    images = torch.rand(1, 1, 50, 71)
    with torch.no_grad():
        padded = network(F.pad(images, [0, 25, 0, 14], mode="replicate"))
        torch.testing.assert_close(network(images), padded[:, :, :50, :71])


def test_every_weight_trains() -> None:
    network = EfficientNetLite0UNet(decoder_channels=SMALL)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_the_encoder_starts_from_a_classifier(tmp_path: Path) -> None:
    classifier = EfficientNetLite0CAM(in_channels=1, output_stride=16)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    network = EfficientNetLite0UNet(pretrained=tmp_path / "classifier.pt", decoder_channels=SMALL)
    torch.testing.assert_close(network.encoder.shallow.stem[0].weight, classifier.shallow.stem[0].weight)
    torch.testing.assert_close(network.encoder.deep.stage8.state_dict(), classifier.deep.stage8.state_dict())


def test_unknown_norm() -> None:
    with pytest.raises(ValueError, match="expected norm to be one of batch, frozen, found 'group'"):
        EfficientNetLite0UNet(norm="group")
