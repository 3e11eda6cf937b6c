"""Contrastive pre-training of the classifiers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from camtools.losses import SupConLoss
from camtools.networks import ContrastiveNetwork, ResNet18CAM, ResNet38


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small_network(**options: Any) -> ResNet18CAM:
    return ResNet18CAM(width=0.125, **options)


def test_contrastive_network_projects_every_view_in_its_place() -> None:
    network = ContrastiveNetwork(small_network(), projection_size=5).eval()
    views = torch.rand(3, 2, 1, 32, 48)
    result = network(views)
    assert result.shape == (3, 2, 5)
    for b in range(3):
        for v in range(2):
            expected = network.projection(network.classifier.embed(views[b, v][None]))[0]
            torch.testing.assert_close(result[b, v], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result[0, 0], result[0, 1])
    assert [layer.out_features for layer in ContrastiveNetwork(small_network()).projection[::2]] == [64, 128]


def test_contrastive_network_trains_the_classifier_it_was_given() -> None:
    classifier = small_network()
    network = ContrastiveNetwork(classifier)
    assert network.classifier is classifier
    before = {name: value.detach().clone() for name, value in classifier.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    SupConLoss()(network(torch.rand(4, 2, 1, 32, 32)), torch.tensor([0, 1, 1, 0])).backward()
    optimizer.step()
    unchanged = {name for name, value in classifier.named_parameters() if torch.equal(value, before[name])}
    assert unchanged == {"fc.weight", "fc.bias"}
    other = small_network()
    ContrastiveNetwork(other).load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(other.eval()(images), classifier.eval()(images))


def test_contrastive_network_checks_classifier_and_views() -> None:
    with pytest.raises(ValueError, match=r"a classifier with embed\(images\) and embedding_size .* found Linear"):
        ContrastiveNetwork(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"expected views \(B, V, C, H, W\), found shape \(4, 1, 32, 32\); Augm"):
        ContrastiveNetwork(small_network())(torch.zeros(4, 1, 32, 32))


def test_contrastive_pretraining_trains_all_but_the_class_layer() -> None:
    model = ResNet38(width=0.03125)
    network = ContrastiveNetwork(model)
    SupConLoss()(network(torch.rand(4, 2, 3, 16, 16)), torch.tensor([0, 1, 1, 0])).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == ["fc8.weight"]
