"""camtools.cams.PatchClassMaps against the pixel-by-pixel reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from camtools.cams import PatchClassMaps, class_distribution
from camtools.networks import VGG16CAM
from camtools.patches import PatchGrid
from tests.reference.patches import stitched

GRID = PatchGrid(32, 16)


@pytest.fixture
def network(seed: None) -> VGG16CAM:
    return VGG16CAM(in_channels=3, num_classes=3, width=0.0625, norm="batch").train()


@pytest.fixture
def photographs(seed: None) -> torch.Tensor:
    return torch.rand(2, 3, 40, 70)


def test_distributions_are_those_of_the_reference(network: VGG16CAM, photographs: torch.Tensor) -> None:
    maps = PatchClassMaps(network, GRID, scales=(1.0, 1.5), input_size=48)
    scores = maps.patch_scores(photographs)
    present = torch.rand(scores.shape[:3]) > 0.3
    present[..., 0] |= ~present.any(dim=2)
    found = maps(photographs, present)
    for image in range(2):
        expected = stitched(scores[image].numpy(), present[image].numpy(), 40, 70, 32, 16)
        np.testing.assert_allclose(found[image], expected, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 40, 70))


def test_scores_are_the_mean_over_scales_of_the_heads_weights_on_the_features(
    network: VGG16CAM, photographs: torch.Tensor
) -> None:
    scores = PatchClassMaps(network, GRID, scales=(1.0, 2.0), input_size=32).patch_scores(photographs)
    patches = GRID.extract(photographs).flatten(0, 1)
    expected = torch.zeros(16, 3, 32, 32)
    for side in (32, 64):
        resized = F.interpolate(patches, size=(side, side), mode="bilinear")
        with torch.no_grad():
            maps = network.eval().class_maps(resized)
        expected += F.interpolate(maps, size=(32, 32), mode="bilinear") / 2
    torch.testing.assert_close(scores.flatten(0, 1), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_batched_equals_single(network: VGG16CAM, photographs: torch.Tensor, batch_size: int | None) -> None:
    maps = PatchClassMaps(network, GRID, scales=(1.0, 1.25), input_size=None, batch_size=batch_size)
    together = maps(photographs)
    alone = torch.cat(
        [PatchClassMaps(network, GRID, scales=(1.0, 1.25), input_size=None)(one[None]) for one in photographs]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_images_smaller_than_a_patch(network: VGG16CAM) -> None:
    images = torch.rand(1, 3, 20, 50)
    maps = PatchClassMaps(network, GRID, scales=(1.0,), input_size=None)
    assert maps(images).shape == (1, 3, 20, 50)
    padded = F.pad(images, (0, 0, 0, 12), mode="replicate")
    torch.testing.assert_close(maps(images), maps(padded)[:, :, :20])


def test_absent_classes_get_nothing_and_the_largest_of_the_others_wins() -> None:
    scores = torch.randn(2, 3, 4, 5, 5)
    present = torch.tensor([True, False, True, True]).expand(2, 3, 4)
    shares = class_distribution(scores, present)
    assert shares[:, :, 1].abs().max() == 0
    expected = scores.masked_fill(~present[..., None, None], -torch.inf).argmax(dim=2)
    assert torch.equal(shares.argmax(dim=2), expected)


def test_patch_without_any_class_keeps_all() -> None:
    scores = torch.randn(1, 1, 2, 3, 3)
    torch.testing.assert_close(class_distribution(scores, torch.zeros(1, 1, 2)), class_distribution(scores))


def test_network_is_left_as_it_was(network: VGG16CAM, photographs: torch.Tensor) -> None:
    network.classifier_flag = nn.Identity().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    PatchClassMaps(network, GRID, scales=(1.0,), input_size=None)(photographs)
    assert network.training
    assert not network.classifier_flag.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"expected a network with class_maps\(images\) .* found Linear"):
        PatchClassMaps(nn.Linear(1, 1), GRID)
    with pytest.raises(ValueError, match=r"expected one or more scales > 0, found \(1.0, 0.0\)"):
        PatchClassMaps(VGG16CAM(width=0.0625), GRID, scales=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"present \(B, N, K\), found \(1, 2, 3, 4, 4\) and \(1, 2, 2\)"):
        class_distribution(torch.zeros(1, 2, 3, 4, 4), torch.ones(1, 2, 2))
