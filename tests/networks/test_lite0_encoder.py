from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import FlexibleUNet

from camtools.networks import EfficientNetLite0CAM, EfficientNetLite0Encoder
from camtools.networks.norms import FrozenBatchNorm2d


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(64, 96), (65, 50)])
def test_features_are_those_of_the_classifier(tmp_path: Path, size: tuple[int, int]) -> None:
    classifier = EfficientNetLite0CAM(in_channels=1, output_stride=32, unit_images=True).eval()
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    encoder = EfficientNetLite0Encoder(in_channels=1, pretrained=tmp_path / "classifier.pt").eval()
    images = torch.rand(2, 1, *size)
    with torch.no_grad():
        features = encoder(images)
        shallow = classifier.shallow(images)
        deep = classifier.deep(shallow)
    torch.testing.assert_close(features[3], shallow)
    torch.testing.assert_close(features[4], deep)
    for level, feature in enumerate(features):
        stride = 2 ** (level + 1)
        assert feature.shape[2:] == tuple(-(-side // stride) for side in size)


def test_frozen_normalisation_stays_frozen() -> None:
    network = FlexibleUNet(1, 2, "efficientnet_lite0_frozen").train()
    frozen = [layer for layer in network.encoder.modules() if isinstance(layer, FrozenBatchNorm2d)]
    assert frozen
    assert not any(weight.requires_grad for layer in frozen for weight in layer.parameters())
    assert all(weight.requires_grad for weight in network.decoder.parameters())


def test_images_are_scaled_for_the_weights() -> None:
    encoder = EfficientNetLite0Encoder(in_channels=1).eval()
    grey = torch.full((1, 1, 32, 32), 0.5)
    torch.testing.assert_close(encoder.shallow.scale(grey), torch.zeros_like(grey))


def test_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected spatial_dims=2 for the encoder efficientnet_lite0, found 3"):
        FlexibleUNet(1, 2, "efficientnet_lite0", spatial_dims=3)
